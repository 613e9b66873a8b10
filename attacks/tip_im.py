"""TIP-IM (Yang et al., "Towards Face Encryption by Generating Adversarial Identity Masks", ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from attacks.budget import ball
from attacks.diversity import diverse
from attacks.enrolled import enrolled
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget, Space
from facesec_bench.search import GradientAt, Objective, SignStep, borrowed, minimise


class TIPIM:
    """A momentum attack towards the best of several decoy identities, chosen anew at every step, and away from oneself.

    Under dodge the decoys are gallery photos of other people (the paper's target set) and oneself is the aim's
    reference; under impersonate the one decoy is the person to be taken for and oneself is the clean photo.

    Against the paper: distances are taken between unit embeddings; decoys are each photo's nearest rather than a fixed
    random ten, since each one costs a gradient a step; input diversity is the DI transform rather than affine jitter;
    MMD compares one photo before and after (the released code's batch of one) rather than two sets of photos, so that
    an image's result does not depend on its batch mates. As in that code, MMD bends the move, not the choice of decoy.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        steps: number of steps; each costs `decoys` gradients and as many forward passes.
        step: step length as a share of the budget; null is the released code's 1.5 / steps.
        decay: momentum factor.
        decoys: how many decoys a photo tries under dodge; fewer if the gallery has fewer other people.
        gamma: weight of the naturalness term; the paper reports 0 to 3.
        diversity: the probability of transforming the input; 0 is off.
        smallest: the lower end of the transform's random side length, as a share of the chip's.

    Raises:
        ConfigError: the gallery holds nobody else to be taken for.
    """

    def __init__(
        self,
        eps_255: float = 8.0,
        steps: int = 10,
        step: float | None = None,
        decay: float = 1.0,
        decoys: int = 5,
        gamma: float = 0.0,
        diversity: float = 0.5,
        smallest: float = 0.9,
    ) -> None:
        if steps < 1 or decoys < 1:
            raise ConfigError(f"TIP-IM: found steps {steps} and decoys {decoys}, wanted at least 1 of each.")
        self.eps_255, self.steps, self.decay, self.decoys = eps_255, steps, decay, decoys
        self.step = 1.5 / steps if step is None else step
        self.gamma, self.diversity, self.smallest = gamma, diversity, smallest

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Perturbed chips (B, 3, H, W), see `interfaces.Evasion`."""
        space = ball(faces.images, eps_255=self.eps_255)
        with borrowed(*surrogates):
            sides = _sides(faces, aim, surrogates, self.decoys)
            parts = [diverse(side.loss, self.diversity, self.smallest, rng) for side in sides]
            if self.gamma:
                # minimise averages the parts, so a term in each is a term once beside the mean over surrogates.
                natural = photo_mmd(faces.images)
                parts = [_sum(part, natural, self.gamma) for part in parts]
            rule = Greedy(SignStep(self.step * space.radius, self.decay), sides, space, rng)
            return minimise(parts, space, rule, self.steps, rng)


@dataclass
class Side:
    """One surrogate's view: oneself (B, D), the decoys (B, K, D), and the decoy pursued now.

    All are unit embeddings, so half a squared distance is 1 - cosine.
    """

    embed: Callable[[Tensor], Tensor]
    own: Tensor
    decoys: Tensor
    pursued: int = 0

    def loss(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,): nearer to the pursued decoy and farther from oneself is lower (L_iden of the paper)."""
        embeddings = self.embed(images)
        return ((self.own - self.decoys[:, self.pursued]) * embeddings).sum(1)

    @torch.no_grad()
    def gain(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,): log(1 + max over decoys exp(D(x, own) - D(x, decoy))), the released code's gain."""
        embeddings = self.embed(images)
        away = (embeddings - self.own).norm(dim=1)
        near = (embeddings[:, None] - self.decoys).norm(dim=2).amin(1)
        return torch.log1p(torch.exp(away - near))


@dataclass
class Greedy:
    """A rule that tries the inner rule's step towards every decoy and keeps, per image, the one of highest gain."""

    rule: SignStep
    sides: Sequence[Side]
    space: Space
    rng: torch.Generator

    def reset(self) -> None:
        """Forget the search."""
        self.rule.reset()

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """The best candidate step, with its momentum."""
        moved, memory = self._towards(0, params, gradient_at)
        if self.sides[0].decoys.shape[1] > 1:
            best = self._gain(moved)
            after_first = self.rng.get_state()
            for decoy in range(1, self.sides[0].decoys.shape[1]):
                self.rng.set_state(self._before)  # every decoy sees the same transformed input, as in the paper
                rival, rival_memory = self._towards(decoy, params, gradient_at)
                gain = self._gain(rival)
                wins = (gain > best).view(-1, 1, 1, 1)
                moved, memory = torch.where(wins, rival, moved), torch.where(wins, rival_memory, memory)
                best = torch.maximum(gain, best)
            self.rng.set_state(after_first)
        self.rule.memory = memory
        return moved

    def _towards(self, decoy: int, params: Tensor, gradient_at: GradientAt) -> tuple[Tensor, Tensor]:
        self._before = self.rng.get_state()
        for side in self.sides:
            side.pursued = decoy
        memory = self.rule.accumulate(gradient_at(params))
        return self.space.project(params - self.rule.size * memory.sign()), memory

    def _gain(self, params: Tensor) -> Tensor:
        return torch.stack([side.gain(self.space.render(params)) for side in self.sides]).mean(0)


@torch.no_grad()
def _sides(faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], k: int) -> list[Side]:
    if not surrogates:
        raise ConfigError("TIP-IM follows gradients and found no surrogate; name at least one target.")
    clean = [functional.normalize(s.embed(faces.images), dim=1) for s in surrogates]
    reference = [functional.normalize(s.embed(aim.references), dim=1) for s in surrogates]
    if aim.kind == "impersonate":
        return [Side(s.embed, c, r[:, None]) for s, c, r in zip(surrogates, clean, reference, strict=True)]
    gallery = [enrolled(s, aim.gallery) for s in surrogates]
    other = aim.gallery.identities[None, :] != aim.labels[:, None]
    k = min(k, int(other.sum(1).min()) if len(other) else k)
    if k < 1:
        raise ConfigError("TIP-IM dodges towards other people and found none in the gallery; enrol at least two.")
    similarity = torch.stack([c @ g.T for c, g in zip(clean, gallery, strict=True)]).mean(0)
    nearest = similarity.masked_fill(~other, -torch.inf).topk(k, dim=1).indices
    return [Side(s.embed, r, g[nearest]) for s, r, g in zip(surrogates, reference, gallery, strict=True)]


def _sum(first: Objective, second: Objective, weight: float) -> Objective:
    return lambda images: first(images) + weight * second(images)


def photo_mmd(origin: Tensor) -> Objective:
    """(B, 3, H, W) -> (B,): squared maximum mean discrepancy between each image and its origin, taken as two sets of
    one photo, as the released code does at its default batch of one: 2 sum over widths of 1 - k(x, origin).

    The kernel is the released code's sum of 19 Gaussians, on grey levels of 112 x 112 pixels; a squared distance on
    another size is brought to that number of pixels. In [0, 38]; most widths saturate after the first step.
    """
    widths = origin.new_tensor(
        [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6]
    )

    def discrepancy(images: Tensor) -> Tensor:
        mean_square = (255.0 * (images - origin)).square().mean((1, 2, 3))
        distance = mean_square * (3 * 112 * 112)
        return 2.0 * (1.0 - torch.exp(-distance[:, None] / (2.0 * widths))).sum(1)

    return discrepancy
