"""Transfer learning as a defence: layers that never saw a private photo cannot tell of one (TL-DMI)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from facesec_bench.closed_set_training import Schooling, moving, teach
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces
from facesec_bench.search import borrowed
from facesec_bench.targets.closed_set import ClosedSet


@dataclass(frozen=True)
class TlDmi:
    """The first layers keep what public photos taught them; private photos move the later ones only.

    The network comes with a trunk that was trained on public photos, such as a recogniser that trains along; on a
    trunk that knows nothing, freezing only costs accuracy.

    Source: Ho et al., "Model Inversion Robustness: Can Transfer Learning Help?", CVPR 2024.

    Attributes:
        frozen: how many of the first layers stay; a layer is a module with weights of its own. sface has 28, of which
            the last, a linear one, holds two thirds of the weights; a small trunk has 9.
        suffix: the new network is called "<name>_<suffix>".

    Raises:
        ConfigError: fewer than 0 layers.
    """

    frozen: int = 14
    suffix: str = "tldmi"

    def __post_init__(self) -> None:
        if self.frozen < 0:
            raise ConfigError(f"tl_dmi: found {self.frozen} frozen layers, wanted 0 or more.")

    def __call__(self, network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> ClosedSet:
        """A new, taught network; the given one, untaught but for its trunk, keeps its bits.

        Args:
            faces: photos of its people; identities are its classes.
            how: how long and how fast.
            rng: draws the batches.

        Raises:
            ConfigError: no layer but the last one would be left to move, or the trunk is frozen already.
            DataError, TrainingError: see `closed_set_training.teach`.
        """
        taught = copy.deepcopy(network)
        taught.name = f"{network.name}_{self.suffix}"
        known = layers(taught.trunk)
        if taught.trunk not in moving(taught) or self.frozen >= len(known):
            raise ConfigError(
                f"tl_dmi: found {self.frozen} layers to freeze of {len(known)} in {network.name}, wanted fewer than "
                "there are, in a trunk that is not frozen as a whole."
            )
        with borrowed(*known[: self.frozen]):
            teach(taught, faces, how, rng, parts=[*known[self.frozen :], taught.last])
        return taught


def layers(trunk: nn.Module) -> list[nn.Module]:
    """Modules with weights of their own, in the order they were put together; a whole comes before its parts."""
    return [part for part in trunk.modules() if any(True for _ in part.parameters(recurse=False))]
