"""Three people told apart by their colour, and a network that can learn them."""

import torch

from facesec_bench.interfaces import Faces
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk, SmallTrunk
from facesec_bench.targets.toy import ToyTarget

COLOURS = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.9, 0.2], [0.2, 0.2, 0.9]])


def colours(per_person: int = 4, seed: int = 0) -> Faces:
    """Red, green and blue, with noise."""
    identities = torch.arange(3).repeat_interleave(per_person)
    noise = 0.1 * torch.randn(len(identities), 3, 224, 224, generator=generator(seed, "faces"))
    images = (COLOURS[identities][:, :, None, None] + noise).clamp(0, 1)
    return Faces(images, identities, tuple(map(str, range(len(identities)))), ("red", "green", "blue"))


def small(seed: int = 0) -> ClosedSet:
    """Untaught."""
    return ClosedSet("small", SmallTrunk(width=4, seed=seed), 3)


def toy(frozen: bool = True) -> ClosedSet:
    """A toy recogniser with a cosine layer, untaught."""
    return ClosedSet("toy", RecogniserTrunk(ToyTarget(), frozen), 3, scale=16.0)
