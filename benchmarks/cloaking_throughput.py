"""Cloaks per minute of the latent search as we run it, against the published one photo at a time, in the same run.

    python -m benchmarks.cloaking_throughput --photos FOLDER --images 10

Same generator, steps, losses and surrogates. The published procedure takes every step of both stages for each photo
alone; ours takes all photos together, and a photo leaves stage 1 when its generator paints it (LPIPS, as PTI), and
stage 2 when it is no more alike to itself than `--stop` under every surrogate (0 as strangers are, 1 the same photo).
Protection on a recogniser that neither saw, LPIPS and PSNR stand beside the speed, as speed alone would be easy.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import hydra
import torch
from torch import Tensor

from experiments.arithmetic import settle
from facesec_bench.data import Dataset
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.metrics.quality import psnr
from facesec_bench.metrics.verification import pair_scores, threshold_at_far
from facesec_bench.perception.lpips import LPIPS
from facesec_bench.protocols.crafting import aim_for, as_kept
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.roles import Roles, assign
from facesec_bench.protocols.verification import pairs
from facesec_bench.seeds import generator

CONF = Path(__file__).resolve().parents[1] / "experiments" / "conf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="a folder of people; generated faces if left out")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--held-out", default="sface")
    parser.add_argument("--stop", type=float, default=-0.1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settle()

    data = ["data=folder", f"data.root={options.photos}"] if options.photos else ["data=synthetic"]
    common = ["target=[sface,dlib_resnet,mobilefacenet]", "evasion=[clip2protect]", *data]
    published = built([*common, "evasion.clip2protect.pivoting.stop=0", "evasion.clip2protect.stop=null"])
    ours = built([*common, f"evasion.clip2protect.stop={options.stop}"])
    targets: dict[str, FRTarget] = {
        name: hydra.utils.instantiate(config).eval() for name, config in ours.targets.items()
    }
    dataset: Dataset = hydra.utils.instantiate(ours.data, _convert_="all")()
    roles = assign(dataset.faces, seed=options.seed, identities=options.images)
    crafting = [target for name, target in targets.items() if name != options.held_out]
    print(f"{len(roles.sources)} photos, judged by {options.held_out}, {torch.get_num_threads()} threads")
    print(
        f"{'procedure':<24}{'stage 1 /min':>13}{'stage 2 /min':>13}{'both /min':>11}{'PSR':>7}{'LPIPS':>8}{'PSNR':>7}"
    )
    rates = []
    for name, config, batch in (("one at a time", published, 1), ("batched, early stop", ours, options.images)):
        method = hydra.utils.instantiate(config.evasion.clip2protect, _convert_="all")
        chips, first, second = run(method, dataset.faces, roles, crafting, batch, options.seed)
        n = len(chips)
        rates.append(60 * n / (first + second))
        row = f"{60 * n / first:>13.1f}{60 * n / second:>13.1f}{rates[-1]:>11.1f}"
        print(f"{name:<24}{row}{judged(chips, dataset, roles, targets[options.held_out])}", flush=True)
    print(f"batched is {rates[1] / rates[0]:.1f} times as fast")


def built(overrides: list[str]) -> Any:
    """The composed configuration."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", overrides)


def run(
    method: Any, faces: Faces, roles: Roles, surrogates: list[FRTarget], batch: int, seed: int
) -> tuple[Tensor, float, float]:
    """(kept cloaks, seconds of stage 1, seconds of stage 2)."""
    chips, first, second = [], 0.0, 0.0
    for start in range(0, len(roles.sources), batch):
        rows = list(range(start, min(start + batch, len(roles.sources))))
        sources = faces.select([roles.sources[r] for r in rows])
        aim: Aim = aim_for(faces, roles, "dodge", rows)
        began = time.perf_counter()
        method.pivots(sources)
        between = time.perf_counter()
        chips.append(method(sources, aim, surrogates, generator(seed, "throughput", start)))
        first, second = first + between - began, second + time.perf_counter() - between
    return as_kept(torch.cat(chips)), first, second


def judged(chips: Tensor, dataset: Dataset, roles: Roles, victim: FRTarget) -> str:
    """PSR at FAR 1e-2, LPIPS and PSNR, as columns."""
    faces = dataset.faces
    clean, cloaked = embed_all(victim, faces.images), embed_all(victim, chips)
    scores = pair_scores(clean.numpy(), faces.identities.numpy())
    threshold = threshold_at_far(scores.impostor, 0.01).threshold
    found = [float(cloaked[i] @ clean[j]) < threshold for i, j in pairs(roles, faces, "dodge")]
    photos = faces.images[list(roles.sources)]
    with torch.no_grad():
        distance = float(LPIPS("alex")(chips, photos).mean())
    return f"{sum(found) / len(found):>7.2f}{distance:>8.3f}{float(psnr(chips.numpy(), photos.numpy()).mean()):>7.1f}"


if __name__ == "__main__":
    main()
