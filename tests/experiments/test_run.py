"""What a line leaves of an experiment's configuration."""

import hydra
import pytest

from experiments.rooms import package_roots
from experiments.run import of_chosen
from facesec_bench.errors import ConfigError


def composed(*overrides):
    conf = package_roots()["experiments"] / "conf"
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        return hydra.compose("config", ["experiment=inversion_defences", *overrides])


def test_settings_of_methods_that_a_line_leaves_out_are_left_out_too():
    config = composed("inversion=[random_latent,mirror]", "hardening=[mid]", "answer=[]")
    assert "tl_dmi" in config.hardening and "gmi" in config.inversion, "the experiment has settings for them"
    left = of_chosen(config)
    assert set(left.hardening) == {"mid"} and set(left.inversion) == {"random_latent", "mirror"}
    assert left.inversion.mirror.generations == config.inversion.mirror.generations == 10
    assert "tl_dmi" in config.hardening, "what was given stays as it was"
    everything = composed()
    assert of_chosen(everything) == everything


def test_settings_of_a_method_that_does_not_exist_are_refused():
    with pytest.raises(ConfigError, match=r"settings of inversion.gmmi, wanted one of: .*gmi"):
        of_chosen(composed("+inversion.gmmi.steps=3"))
