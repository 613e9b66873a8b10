"""The Protocols that a target or a method satisfies. Read this file first.

Conventions that hold everywhere:

* A *chip* is an aligned face crop: float32 RGB in [0, 1], shape (3, 224, 224); a batch is (B, 3, 224, 224).
* An *embedding* is a unit vector; similarity is the cosine, so a dot product.
* A *surrogate* is a target while it is attacked, a *victim* while it is judged. Both are `FRTarget`.
* Randomness comes in as a `torch.Generator`; nothing seeds the world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from facesec_bench.goals import Aim

CHIP_SIZE = 224
"""Side of a chip in pixels. Every budget (eps) is counted in chip pixels."""

CHIP_LANDMARKS: tuple[tuple[float, float], ...] = (
    (85.5004, 96.1466),
    (138.4996, 95.8534),
    (112.1685, 126.2886),
    (90.3957, 157.3159),
    (134.2853, 157.0731),
)
"""Where the five landmarks lie in a chip, as (x, y) pixels: left eye, right eye, nose tip, left and right mouth corner
(left and right as seen in the image). The ArcFace 112-pixel template scaled so that the eyes are 53 px apart, their
midpoint at (112, 96): wide enough for the templates of all the targets (about 4.2 eye distances a side)."""


@dataclass(frozen=True)
class Faces:
    """Aligned faces: what every loader yields.

    Attributes:
        images: (B, 3, 224, 224) float32 RGB chips in [0, 1].
        identities: (B,) int64, an index into `names`.
        keys: B stable ids, one per image, unique; they reappear in every record.
        names: the name of each identity.
    """

    images: Tensor
    identities: Tensor
    keys: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.keys)
        if self.images.ndim != 4 or self.images.shape[:2] != (n, 3) or self.identities.shape != (n,):
            raise ValueError(
                f"Faces wants images (B, 3, H, W), identities (B,) and B keys; found {tuple(self.images.shape)}, "
                f"{tuple(self.identities.shape)} and {n} keys."
            )
        if len(set(self.keys)) != n:
            raise ValueError("Faces wants unique keys; found a repeated one.")

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, indices: Sequence[int] | Tensor) -> Faces:
        """The faces at `indices`, in that order; `names` stays whole so identities keep their meaning."""
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return Faces(
            images=self.images[rows],
            identities=self.identities[rows],
            keys=tuple(self.keys[i] for i in rows.tolist()),
            names=self.names,
        )


@dataclass(frozen=True)
class TargetCard:
    """What a target declares about itself; printed by `facesec list target` and in every report.

    Attributes:
        preprocessing: the fixed transform from template crop to network input, in words.
        template: the alignment template, in words.
        metric: the similarity by which the target is judged; "cosine" on unit embeddings.
        licence: licence of the weights.
        note: anything a reader of a number must know (a weak recogniser, a toy); empty if nothing.
    """

    dimension: int
    input_size: int
    preprocessing: str
    template: str
    metric: str
    licence: str
    note: str = ""


@runtime_checkable
class FRTarget(Protocol):
    """A face recogniser: differentiable from chip to unit embedding."""

    name: str
    card: TargetCard
    digest: str  # sha256 of the weights as loaded; enters the run's fingerprint

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, D) unit vectors, differentiable in the chips."""
        ...


class Goal(Protocol):
    """What the attacker wants, in the embedding space of one target."""

    def loss(self, embeddings: Tensor) -> Tensor:
        """(B, D) unit -> (B,), lower favours the attacker."""
        ...

    def reached(self, embeddings: Tensor, threshold: float) -> Tensor:
        """(B, D) unit -> (B,) bool: the verdict of a verifier that accepts at cosine >= threshold."""
        ...


class Space(Protocol):
    """What may be changed, and how it becomes an image."""

    def start(self, rng: torch.Generator) -> Tensor:
        """The first parameters, (B, ...)."""
        ...

    def render(self, params: Tensor) -> Tensor:
        """(B, ...) -> (B, 3, H, W) in [0, 1], differentiable."""
        ...

    def project(self, params: Tensor) -> Tensor:
        """The nearest parameters that the budget allows."""
        ...


class Evasion(Protocol):
    """A test-time attack on one photo: the config group `evasion`."""

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, 224, 224) in [0, 1], within the method's own budget around `faces.images`."""
        ...


Latent = Mapping[str, Tensor]
"""Where an image generator stands: layer name -> (B, ...), one row per image. What a layer is, its generator says."""


class ImageGenerator(Protocol):
    """Latents to images: the config group `generator`. A torch module, so that its weights can be tuned.

    Attributes:
        resolution: side R of its images in pixels.
        landmarks: where the five landmarks of CHIP_LANDMARKS lie in its images on average, as (x, y) pixels.
        digest: sha256 of weights and settings; enters the run's fingerprint.
    """

    name: str
    resolution: int
    landmarks: tuple[tuple[float, float], ...]
    digest: str

    def units(self) -> dict[str, float]:
        """How much one step in each layer is: the standard deviation, over random latents, of the layer or of what an
        offset is added to."""
        ...

    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """A random latent of every layer for `count` images, on the generator's device; its keys are the layers, in
        order from coarse to fine. Layers that are only offsets are drawn as zeros."""
        ...

    def mean(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Where an inversion starts: as `draw`, with what decides identity at the centre of its distribution."""
        ...

    def synthesise(self, latent: Latent) -> Tensor:
        """A latent of every layer -> (B, 3, R, R) RGB in [0, 1], differentiable in the latent and the weights.

        Raises:
            ValueError: a missing or unknown layer, or a wrong shape.
        """
        ...


class Guidance(Protocol):
    """What a cloak shall look like: the config group `guidance`."""

    def bind(self, originals: Tensor, rng: torch.Generator) -> Callable[[Tensor], Tensor]:
        """(B, 3, 224, 224) photos as they were -> the loss of their cloaks, (B, 3, 224, 224) -> (B,), lower is nearer
        to what was asked for. `rng` serves guidance that looks at random views."""
        ...


class Watermark(Protocol):
    """An invisible message in a chip: the config group `watermark`.

    Attributes:
        bits: length L of a message.
        differentiable: whether gradients flow from the marked chip to the chip; where not, an attack must pretend
            (`watermarks.straight_through`).
        digest: sha256 of weights and settings; enters the run's fingerprint.
    """

    name: str
    bits: int
    differentiable: bool
    digest: str

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, L) of 0 and 1 -> the marked chips, (B, 3, H, W) in [0, 1]."""
        ...

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, L) scores: positive reads as 1, otherwise 0. The larger its size, the surer the bit."""
        ...


class Activation(Protocol):
    """An attack that lies dormant until the image is marked: the config group `activation`."""

    def __call__(
        self,
        faces: Faces,
        aim: Aim,
        surrogates: Sequence[FRTarget],
        thresholds: Sequence[float],
        watermark: Watermark,
        messages: Tensor | None,
        rng: torch.Generator,
        *,
        purifier: Purifier | None = None,
    ) -> Tensor:
        """Perturbed chips (B, 3, 224, 224), unmarked, within the method's own budget around `faces.images`.

        Args:
            thresholds: of each surrogate, as calibrated; a verifier accepts at cosine >= threshold.
            watermark: the watermarker that the attacker knows.
            messages: (B, L) of 0 and 1 that will be embedded, or None where the attacker does not know them.
            purifier: the transform that the attacker knows to stand before recogniser and watermarker, or None.
        """
        ...


class Purifier(Protocol):
    """What a system does to an image before it looks at it: the config group `purifier`.

    Attributes:
        differentiable: whether its gradient is its own; where not, the backward pass is the identity (BPDA, Athalye et
            al., ICML 2018), so an attack through it still has a direction.
    """

    name: str
    differentiable: bool

    def __call__(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, H, W) in [0, 1]."""
        ...
