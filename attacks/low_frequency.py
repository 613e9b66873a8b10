"""PGD and its momentum relatives whose change lives in the low frequencies of the DCT (Guo et al., "Low Frequency
Adversarial Perturbation", UAI 2019; per-step low pass as in FaceShield, Jeong et al., ICCV 2025).

Low frequencies survive scaling and compression and cost less LPIPS at one L-inf budget, but the attack weakens
with the band: on ten LFW photos, from one surrogate, none of the bands tried beat the soft filter of TI
(`mi_di_ti`). Built from the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.budget import ball
from attacks.diversity import diverse
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.search import GradientAt, Rule, SignStep, borrowed, minimise, objectives
from facesec_bench.spaces import PixelBall


def dct_matrix(side: int) -> Tensor:
    """(N, N) orthonormal DCT-II in float64: row k holds the cosine of frequency k, so `m @ x` are the coefficients."""
    k, n = torch.meshgrid(*[torch.arange(side, dtype=torch.float64)] * 2, indexing="ij")
    rows = math.sqrt(2.0 / side) * torch.cos(math.pi * (2 * n + 1) * k / (2 * side))
    rows[0] /= math.sqrt(2.0)
    return rows


@dataclass(frozen=True)
class Band:
    """The lowest frequencies of an image along each axis: an orthogonal projector, so filtering twice changes nothing.

    Attributes:
        rows: (H, H) projector of the columns of an image.
        columns: (W, W) projector of its rows.
    """

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, images: Tensor, keep: float, block: int | None) -> Band:
        """The band for images (B, C, H, W).

        Args:
            keep: share of the frequencies kept along each axis, in (0, 1], rounded to a whole number and at least one
                (the ratio r of Guo et al.); so keep^2 of all coefficients.
            block: side in pixels of the blocks that are transformed, as in JPEG; null transforms the whole image.

        Raises:
            ConfigError: a share out of range, or a block that does not divide the image.
        """
        if not 0 < keep <= 1:
            raise ConfigError(f"Low pass: found keep {keep}, wanted above 0 and up to 1.")
        return cls(*(_projector(side, keep, block).to(images) for side in images.shape[-2:]))

    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> its part within the band."""
        return self.rows @ images @ self.columns


def _projector(side: int, keep: float, block: int | None) -> Tensor:
    size = side if block is None else block
    if size < 1 or side % size:
        raise ConfigError(f"Low pass: found blocks of {size} px on a side of {side} px, wanted a divisor of the side.")
    low = dct_matrix(size)[: max(1, round(keep * size))]
    projector: Tensor = torch.block_diag(*[low.T @ low] * (side // size))
    return projector


@dataclass(frozen=True)
class LowFrequencyBall:
    """A pixel ball whose members differ from its centre in a band: parameters are pixels.

    The ball and [0, 1] hold exactly. The band holds but for what the last clip adds: `project` filters and clips in
    turn, which approaches the intersection; each round leaves less outside.

    Attributes:
        ball: the pixels allowed.
        band: the frequencies allowed.
        rounds: how often `project` filters and clips, at least 1.
    """

    ball: PixelBall
    band: Band
    rounds: int = 3

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, 3, H, W): the ball's own start; `minimise` projects it."""
        return self.ball.start(rng)

    def render(self, params: Tensor) -> Tensor:
        """Parameters are pixels already."""
        return params

    def project(self, params: Tensor) -> Tensor:
        """(B, 3, H, W) -> an image of the ball whose change is low in frequency, near `params`."""
        origin = self.ball.origin
        for _ in range(self.rounds):
            params = self.ball.project(origin + self.band(params - origin))
        return params

    def outside(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,) share of the change's energy that is outside the band, in [0, 1]; 0 for no change."""
        change = images - self.ball.origin
        energy = change.square().sum((1, 2, 3))
        return (change - self.band(change)).square().sum((1, 2, 3)) / energy.clamp_min(torch.finfo(energy.dtype).tiny)


@dataclass
class LowPassed:
    """A rule whose gradients are filtered first: the gradient in the band's coefficients, as the filter is symmetric.

    A sign step would else be nearly all high in frequency, and the space would take most of it away again.
    """

    rule: Rule
    band: Band

    def reset(self) -> None:
        """Forget the search."""
        self.rule.reset()

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """The inner rule's step with filtered gradients."""
        return self.rule.step(params, lambda at: self.band(gradient_at(at)))


class LowFrequency:
    """Signed steps within the low frequencies of an L-inf ball, with momentum and input diversity as switches.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels; it holds exactly.
        steps: number of steps.
        step: step length as a share of the budget.
        keep: share of the frequencies kept along each axis, in (0, 1].
        block: side of the transformed blocks in chip pixels, or null for the whole chip.
        rounds: how often a step is filtered and clipped.
        decay: momentum factor; 0 is plain PGD.
        diversity: the probability of transforming the input; 0 is off.
        smallest: the lower end of the transform's random side length, as a share of the chip's.
        random_start: begin at a random point of the ball, filtered.

    Raises:
        ConfigError: a switch out of range.
    """

    def __init__(
        self,
        eps_255: float = 8.0,
        steps: int = 10,
        step: float = 0.25,
        keep: float = 0.125,
        block: int | None = None,
        rounds: int = 3,
        decay: float = 0.0,
        diversity: float = 0.0,
        smallest: float = 0.9,
        random_start: bool = False,
    ) -> None:
        if steps < 1 or rounds < 1:
            raise ConfigError(f"Low frequency: found steps {steps} and rounds {rounds}, wanted at least 1 of each.")
        self.eps_255, self.steps, self.step = eps_255, steps, step
        self.keep, self.block, self.rounds = keep, block, rounds
        self.decay, self.diversity, self.smallest, self.random_start = decay, diversity, smallest, random_start

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = self.space(faces.images)
        rule = LowPassed(SignStep(self.step * space.ball.radius, self.decay), space.band)
        with borrowed(*surrogates):
            parts = objectives(aim, surrogates)
            if self.diversity:
                parts = [diverse(part, self.diversity, self.smallest, rng) for part in parts]
            return minimise(parts, space, rule, self.steps, rng)

    def space(self, images: Tensor) -> LowFrequencyBall:
        """What may be changed in `images` (B, 3, H, W)."""
        whole = ball(images, eps_255=self.eps_255, random=self.random_start)
        return LowFrequencyBall(whole, Band.of(images, self.keep, self.block), self.rounds)
