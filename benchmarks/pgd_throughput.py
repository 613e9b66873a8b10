"""Images per second of our PGD against torchattacks PGD: same target, same images, same steps, same run.

    python -m benchmarks.pgd_throughput --target sface --images 8 --steps 10

Both see the target as it is loaded; torchattacks sees it through the gallery view, whose extra cost, one matrix
product, is nothing beside the network. Rounds alternate so that a busy machine slows both alike; the median is printed.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time

import torch

from attacks.pgd import PGD
from attacks.via_torchattacks import TorchAttacks
from experiments.arithmetic import settle
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Faces, FRTarget
from facesec_bench.seeds import generator

TARGETS = {
    "toy": "facesec_bench.targets.toy.ToyTarget",
    "sface": "facesec_bench.targets.sface.SFace",
    "dlib_resnet": "facesec_bench.targets.dlib_resnet.DlibResNet",
    "mobilefacenet": "facesec_bench.targets.mobilefacenet.MobileFaceNet",
}


def load(name: str) -> FRTarget:
    module, _, kind = TARGETS[name].rpartition(".")
    return getattr(importlib.import_module(module), kind)()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, default="sface")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settle()

    n, rng = options.images, generator(options.seed, "throughput")
    names = tuple(str(i) for i in range(n))
    faces = Faces(torch.rand(n, 3, CHIP_SIZE, CHIP_SIZE, generator=rng), torch.arange(n), names, names)
    gallery = Faces(torch.rand(n, 3, CHIP_SIZE, CHIP_SIZE, generator=rng), torch.arange(n), names, names)
    aim = Aim("dodge", gallery.images, gallery.identities, gallery)
    target = load(options.target)
    rivals = {
        "facesec_bench": PGD(eps_255=8.0, steps=options.steps),
        "torchattacks 3.5.1": TorchAttacks("PGD", {"steps": options.steps}, eps_255=8.0, step=0.25),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for round_ in range(options.rounds + 1):  # the first round warms up
        for name, attack in rivals.items():
            start = time.perf_counter()
            attack(faces, aim, [target], generator(options.seed))
            if round_:
                seconds[name].append(time.perf_counter() - start)

    print(f"PGD on {options.target}: {n} images, {options.steps} steps, {torch.get_num_threads()} threads")
    print(f"{'implementation':<22}{'images/s':>10}{'s/batch':>10}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<22}{n / median:>10.2f}{median:>10.2f}")


if __name__ == "__main__":
    main()
