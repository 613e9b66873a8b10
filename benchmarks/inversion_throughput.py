"""People inverted per minute as we run it, against the published loop on the same prior and victim, in the same run.

    python -m benchmarks.inversion_throughput --photos FOLDER

The published loop (GMI, KED-MI, LOMMA) takes every person from a drawn latent through a fixed number of iterations,
whatever has been reached. Ours begins at the best of a drawn pool, and a picture leaves when the victim is sure of it
as it is. Loss, step rule, prior and victim are the same; top-1 by a recogniser that was not attacked stands
beside the speed, as speed alone would be easy.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import hydra
import torch

from attacks.inversion import Inversion
from experiments.arithmetic import settle
from experiments.inversion_victims import HeadPlan
from facesec_bench.access import ClassifierAccess
from facesec_bench.data import Dataset
from facesec_bench.metrics.intervals import identity_bootstrap
from facesec_bench.protocols.crafting import as_kept
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.inversion import Private, divide, named, templates
from facesec_bench.seeds import generator

CONF = Path(__file__).resolve().parents[1] / "experiments" / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="a folder of people; generated faces if left out")
    parser.add_argument("--attack", default="ppa", help="a YAML of conf/inversion on a classifier")
    parser.add_argument("--iterations", type=int, default=300, help="of the published loop")
    parser.add_argument("--stop", type=float, default=0.95, help="probability at which ours lets a picture go")
    parser.add_argument("--samples", type=int, default=2, help="pictures of each person")
    parser.add_argument(
        "--scale", type=float, default=16.0, help="of the victim's cosines; 64 is sure long before others"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settle()

    data = ["data=folder", f"data.root={options.photos}"] if options.photos else ["data=synthetic"]
    line = ["experiment=inversion", *data, f"inversion=[{options.attack}]", "target=[sface,mobilefacenet]"]
    config = built([*line, "victim=[sface_head]"])
    dataset: Dataset = hydra.utils.instantiate(config.data, _convert_="all")()
    public: Dataset = hydra.utils.instantiate(config.study.public, _convert_="all")()
    targets = {name: hydra.utils.instantiate(part).eval() for name, part in config.targets.items()}
    private = divide(dataset.faces, people=None, held=0.3, seed=options.seed)
    plan = HeadPlan("sface", scale=options.scale)
    victim = plan.build("sface_head", targets, private.classes, public.faces, options.seed)
    plan.taught(victim, private.taught, generator(options.seed, "teach"))
    victim = victim.requires_grad_(False).eval()

    ours: Inversion = hydra.utils.instantiate(config.inversion[options.attack], _convert_="all")
    if not isinstance(ours, Inversion) or ours.stages or ours.distribution:
        raise SystemExit(f"Found {options.attack}, wanted an attack that searches points in one stage.")
    fixed = dataclasses.replace(ours, pool=0, restarts=1, views=0, stop=None, steps=options.iterations)
    early = dataclasses.replace(fixed, pool=ours.pool or 400, stop=options.stop)
    print(
        f"{private.classes} people of {dataset.name}, {torch.get_num_threads()} threads, {options.attack} on sface_head"
    )
    print(f"{'procedure':<26}{'people /min':>12}{'top-1 by mobilefacenet':>32}{'queries':>9}{'gradients':>11}")
    rates = []
    for name, attack in (("fixed iterations", fixed), ("pool and early stop", early)):
        people = torch.arange(private.classes).repeat_interleave(options.samples)
        access = ClassifierAccess(victim, "white")
        began = time.perf_counter()
        chips = as_kept(attack(people, access, public.faces.images, generator(options.seed, "throughput")))
        rates.append(60 * private.classes / (time.perf_counter() - began))
        asked = f"{access.meter.queries / len(people):>9.0f}{access.meter.gradients / len(people):>11.0f}"
        print(
            f"{name:<26}{rates[-1]:>12.1f}{judged(chips, people, private, targets['mobilefacenet']):>32}{asked}",
            flush=True,
        )
    print(f"ours inverts {rates[1] / rates[0]:.1f} times as many people a minute")


def built(overrides: list[str]) -> Any:
    """The composed configuration."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides)


def judged(chips: torch.Tensor, people: torch.Tensor, private: Private, evaluator: Any) -> str:
    """Top-1 with its interval over people."""
    known = templates(embed_all(evaluator, private.taught.images), private.taught.identities, private.classes)
    hits = named(embed_all(evaluator, chips), known, people).float().tolist()
    who = [private.names[i] for i in people.tolist()]
    score = identity_bootstrap(hits, who, 0, proportion=True)
    return f"{100 * score.value:.0f} % [{100 * score.low:.0f}, {100 * score.high:.0f}]"


if __name__ == "__main__":
    main()
