"""Every sweep preset composes, job by job, without running anything."""

from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

CONF = Path(__file__).resolve().parents[2] / "experiments" / "conf"


def jobs(base: list[str]) -> list[list[str]]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        params = compose("config", base, return_hydra_config=True).hydra.sweeper.params
    choices = []
    for key, value in params.items():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={value}"])
        swept = override.is_sweep_override()
        choices.append([f"{key}={v}" for v in override.sweep_string_iterator()] if swept else [f"{key}={value}"])
    return [list(job) for job in product(*choices)]


@pytest.fixture(scope="module")
def watermark_jobs():
    return jobs(["experiment=watermark", "sweep=watermark"])


def test_watermark_sweep_crosses_budgets_watermarkers_targets_and_lengths(watermark_jobs):
    assert len(watermark_jobs) == 4 * 4 * 3 * 2


def test_each_job_of_the_watermark_sweep_is_lean_and_has_two_watermarkers(watermark_jobs):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for job in watermark_jobs[::7]:
            config = compose("config", ["experiment=watermark", "sweep=watermark", *job])
            assert config.watermark != config.other_watermark
            assert len(config.targets) == 1 and list(config.activation) == ["adversarial_watermark"]
            assert not any(config.get(group) for group in ("purifier", "detector", "robust"))
            assert config.study.design.message_length in (16, 32) and not config.study.design.trade_off


@pytest.mark.parametrize(("sweep", "number"), [("eps", 5), ("seeds", 3)])
def test_other_sweeps_compose_with_every_study(sweep, number):
    for study in ("evasion", "watermark", "quickstart"):
        assert len(jobs([f"experiment={study}", f"sweep={sweep}"])) == number
