"""Victims of an inversion: closed-set recognisers, and how each comes to know its people.

A plan is a config of the group `victim`; what it builds is untaught, so that a defence can teach it its own way.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

import torch

from facesec_bench import closed_set_training, trained, training
from facesec_bench.closed_set_training import Schooling, teach, teach_head
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.seeds import generator
from facesec_bench.targets import closed_set
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk, SmallTrunk


class VictimPlan(Protocol):
    """A kind of victim.

    Attributes:
        recogniser: name of the target whose embedding it uses, None for none: that target cannot be its evaluator.
        schooling: how it is taught.
    """

    recogniser: str | None
    schooling: Schooling

    def build(self, name: str, targets: Mapping[str, FRTarget], classes: int, public: Faces, seed: int) -> ClosedSet:
        """An untaught network.

        Args:
            public: photos of other people, for plans that learn faces from them first.
        """
        ...

    def taught(self, network: ClosedSet, faces: Faces, rng: torch.Generator) -> None:
        """Teach it, without a defence, in place."""
        ...


@dataclass(frozen=True)
class HeadPlan:
    """A recogniser with a last layer of its own: the usual closed-set system.

    Attributes:
        recogniser: name among the run's targets.
        frozen: whether the recogniser stays as it is; only the last layer is then taught.
        scale: logits are so many times cosines.
    """

    recogniser: str | None
    frozen: bool = True
    scale: float = 16.0
    schooling: Schooling = field(default_factory=lambda: Schooling(steps=200, batch=64, learning_rate=0.01))

    def build(self, name: str, targets: Mapping[str, FRTarget], classes: int, public: Faces, seed: int) -> ClosedSet:
        """See `VictimPlan`.

        Raises:
            ConfigError: no target of that name.
        """
        if self.recogniser not in targets:
            raise ConfigError(
                f"{name}: found no target {self.recogniser!r}, wanted one among {list(targets)}: target=[...]."
            )
        target = copy.deepcopy(targets[self.recogniser])
        device = next(target.parameters()).device if isinstance(target, torch.nn.Module) else "cpu"
        return ClosedSet(name, RecogniserTrunk(target, self.frozen), classes, self.scale, seed).to(device)

    def taught(self, network: ClosedSet, faces: Faces, rng: torch.Generator) -> None:
        """See `VictimPlan`."""
        (teach_head if self.frozen else teach)(network, faces, self.schooling, rng)


@dataclass(frozen=True)
class SmallPlan:
    """A small network that first learns faces from public photos, then the private people: every layer moves.

    Attributes:
        width: see `closed_set.SmallTrunk`.
        pretraining: on the public people; None starts from noise. It is done once and kept in the cache.
        scale: of the private last layer.
    """

    width: int = 16
    scale: float | None = None
    pretraining: Schooling | None = field(default_factory=lambda: Schooling(steps=1500, learning_rate=2e-3))
    schooling: Schooling = field(default_factory=lambda: Schooling(steps=200, learning_rate=5e-4))

    recogniser = None

    def build(self, name: str, targets: Mapping[str, FRTarget], classes: int, public: Faces, seed: int) -> ClosedSet:
        """See `VictimPlan`."""
        trunk = SmallTrunk(self.width, seed)
        if self.pretraining is not None:
            self._pretrain(trunk, public, self.pretraining, seed)
        return ClosedSet(name, trunk, classes, self.scale, seed).to(public.images.device)

    def taught(self, network: ClosedSet, faces: Faces, rng: torch.Generator) -> None:
        """See `VictimPlan`."""
        teach(network, faces, self.schooling, rng)

    def _pretrain(self, trunk: SmallTrunk, public: Faces, how: Schooling, seed: int) -> None:
        """Learn to tell the public people apart; the last layer for them is thrown away."""
        recipe = {
            "width": self.width,
            "seed": seed,
            "schooling": asdict(how),
            "photos": photos_digest(public),
            "code": trained.code_digest(closed_set, closed_set_training, training),
            "torch": torch.__version__,
        }
        known = trained.load("small_trunk", recipe)
        if known is None:
            people = torch.unique(public.identities).tolist()
            columns = torch.tensor([people.index(i) for i in public.identities.tolist()])
            faces = Faces(public.images, columns, public.keys, tuple(public.names[i] for i in people))
            network = ClosedSet("public", trunk, len(people), seed=seed)
            curve = teach(network, faces, how, generator(seed, "pretraining"))
            trained.store("small_trunk", recipe, trunk.state_dict(), curve)
            return
        trunk.load_state_dict(known)


def photos_digest(faces: Faces) -> str:
    """sha256 over the photos' 8-bit pixels and whom they show."""
    digest = hashlib.sha256()
    for image, identity in zip(faces.images, faces.identities.tolist(), strict=True):
        digest.update(f"{identity}:".encode())
        digest.update((image * 255).round().to(torch.uint8).contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
