"""Adversarial watermarking: a photo that is recognised until it is marked.

The idea is that of Yao, Jain and Liu, "Adversarial Watermarking for Face Recognition" (arXiv 2409.16056, 2024). Of that
paper only the threat model and the headline are known to us and no code is published, so the loss below is derived:
three hinges, on what the recogniser says of the marked photo (activation), of the unmarked one (stealth), and on what
the owner reads from the marked one (bits).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from attacks.annealing import Annealed
from attacks.budget import ball
from facesec_bench.distortions import quantised
from facesec_bench.errors import ConfigError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget, Purifier, Watermark
from facesec_bench.search import Objective, SignStep, borrowed, minimise
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.straight_through import StraightThrough


@dataclass(frozen=True)
class Losses:
    """What is asked of the two views of a photo; margins are cosines.

    For a surrogate h with threshold tau, s the cosine, m the message, E the watermarker, D its decoder, x the clean
    photo and z the reference that the attacker holds, the loss of x' is

        mean over a in {z, h(x)} of relu(s(h(E(x', m)), a) - (tau - activation_margin))
        + stealth_weight * [ relu(min(tau + stealth_margin, s(h(x), z)) - s(h(x'), z)) + relu(keep - s(h(x'), h(x))) ]
        + bit_weight * mean over bits of relu(1 - D(E(x', m)) * (2 m - 1))

    when dodging. Impersonating, z is the person to be taken for: the first term is relu(tau + activation_margin -
    s(h(E(x', m)), z)), and the first of the stealth terms relu(s(h(x'), z) - (tau - stealth_margin)).

    Attributes:
        keep: the unmarked photo's cosine to the clean one is held above this.
        bit_weight: of the hinge on the decoder's scores, each margin being 1 of the score's own unit.
        bit_every: the bit hinge joins every so many steps, with as many times the weight: a decoder may cost more than
            everything else, and bits are seldom in danger.
        consistency: if given, s(h(x'), h(E(x', m))) is held above it: an attack on a check of just that.
        consistency_weight: of that hinge, relu(consistency - s(h(x'), h(E(x', m)))), which is added to the sum.
    """

    activation_margin: float = 0.3
    stealth_margin: float = 0.2
    stealth_weight: float = 1.0
    keep: float = 0.92
    bit_weight: float = 0.1
    bit_every: int = 5
    consistency: float | None = None
    consistency_weight: float = 1.0


@dataclass
class _View:
    """One surrogate's view: embeddings that stay fixed, and the hinges on those that move."""

    surrogate: FRTarget
    threshold: float
    own: Tensor
    reference: Tensor
    kind: str
    losses: Losses

    def loss(self, unmarked: Tensor, marked: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 3, H, W) -> (B,) activation and stealth hinges."""
        return self.judged(self.surrogate.embed(unmarked), self.surrogate.embed(marked))

    def judged(self, before: Tensor, after: Tensor) -> Tensor:
        """The same from the embeddings of both, (B, D)."""
        total = self._activation(after) + self.losses.stealth_weight * self._stealth(before)
        if self.losses.consistency is not None:
            apart = torch.relu(self.losses.consistency - _cosine(before, after))
            total = total + self.losses.consistency_weight * apart
        return total

    def _activation(self, after: Tensor) -> Tensor:
        margin = self.losses.activation_margin
        if self.kind == "impersonate":
            return torch.relu(self.threshold + margin - _cosine(after, self.reference))
        anchors = (self.reference, self.own)
        return sum(torch.relu(_cosine(after, a) - (self.threshold - margin)) for a in anchors) / len(anchors)  # type: ignore[return-value]

    def _stealth(self, before: Tensor) -> Tensor:
        margin = self.losses.stealth_margin
        kept = torch.relu(self.losses.keep - _cosine(before, self.own))
        if self.kind == "impersonate":
            return kept + torch.relu(_cosine(before, self.reference) - (self.threshold - margin))
        # Never more than the clean photo itself has: that could not be met.
        wanted = _cosine(self.own, self.reference).clamp_max(self.threshold + margin)
        return kept + torch.relu(wanted - _cosine(before, self.reference))


@dataclass
class _Dormant:
    """The objective: (B, 3, H, W) -> (B,), over all surrogates and some messages."""

    views: Sequence[_View]
    watermark: Watermark
    messages: Callable[[], Sequence[Tensor]]
    losses: Losses
    purifier: Purifier | None
    calls: int = field(default=0, init=False)

    def __call__(self, images: Tensor) -> Tensor:
        """Both views are judged as 8-bit files, so the search sees that rounding; its gradient passes on unchanged."""
        seen = quantised(images, 256)
        if self.purifier is not None:
            seen = quantised(self.purifier(seen), 256)
        total = torch.zeros(len(images), device=images.device)
        drawn = self.messages()
        befores = [view.surrogate.embed(seen) for view in self.views]  # once, however many messages are drawn
        for message, encoded in zip(drawn, self._encoded(seen, drawn), strict=True):
            marked = quantised(encoded, 256)
            for view, before in zip(self.views, befores, strict=True):
                total = total + view.judged(before, view.surrogate.embed(marked)) / len(self.views)
            total = total + self._bits(marked, message)
        self.calls += 1
        return total / len(drawn)

    def _encoded(self, seen: Tensor, drawn: Sequence[Tensor]) -> Sequence[Tensor]:
        """One after another, or all at once where a watermarker knows how to share its work."""
        at_once = getattr(self.watermark, "encode_each", None)
        if at_once is not None:
            return at_once(seen, drawn)  # type: ignore[no-any-return]
        return [self.watermark.encode(seen, message) for message in drawn]

    def _bits(self, marked: Tensor, message: Tensor) -> Tensor:
        # Through BPDA decoding has no gradient, so there would be nothing to follow.
        blind = isinstance(self.watermark, StraightThrough)
        if blind or not self.losses.bit_weight or self.calls % self.losses.bit_every:
            return torch.zeros(len(marked), device=marked.device)
        hinge = torch.relu(1 - self.watermark.decode(marked) * (2 * message - 1)).mean(dim=1)
        return self.losses.bit_weight * self.losses.bit_every * hinge


class AdversarialWatermark:
    """Sign steps with momentum on the three hinges; see `Losses` for the formula.

    Two departures from usual practice in a ball (Madry et al., ICLR 2018): the search starts at the photo itself, where
    both stealth terms are met, not at a random point; and the last iterate is returned, not the best one seen. Steps
    shrink to settle at the end; a judge would cost a third more.

    What is differentiated need not be what is judged. RivaGAN runs in bfloat16 while a gradient is taken, where the CPU
    has that in hardware, so there K1 and K2 (victim and watermarker known; message known or averaged over) follow a
    forward pass that is rounded. K5 (no gradient through the watermarker) sees it through `StraightThrough`: the exact
    marks, and the identity backwards.

    Args:
        eps_255: L-inf budget in grey levels out of 255, in chip pixels.
        steps: number of steps.
        step: first step length as a share of the budget.
        last_step: the last one as a share of the first; between them it falls linearly.
        decay: momentum.
        draws: messages drawn for every step where the attacker does not know the message (expectation over
            transformations, Athalye et al., ICML 2018).
        universal: one perturbation for many photos instead of one for each. It is crafted on one half of the people in
            a batch and applied to the other, so that nobody's own photo shaped it.
        losses: margins and weights.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        eps_255: float = 4.0,
        steps: int = 50,
        step: float = 0.5,
        last_step: float = 0.05,
        decay: float = 0.9,
        draws: int = 4,
        universal: bool = False,
        **losses: float,
    ) -> None:
        self.losses = Losses(**losses)  # type: ignore[arg-type]
        if steps < 1 or draws < 1 or self.losses.bit_every < 1:
            raise ConfigError(
                f"Found steps {steps}, draws {draws} and bit_every {self.losses.bit_every}, wanted at least 1 of each."
            )
        self.eps_255, self.steps, self.step, self.last_step, self.decay = eps_255, steps, step, last_step, decay
        self.draws, self.universal = draws, universal

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
        """Perturbed, unmarked chips (B, 3, H, W); see `interfaces.Activation`. Without a gradient of its own the
        watermarker is seen through BPDA.

        Raises:
            ConfigError: no surrogate, or not one threshold for each.
        """
        if not surrogates or len(surrogates) != len(thresholds):
            raise ConfigError(
                f"Found {len(surrogates)} surrogates and {len(thresholds)} thresholds, wanted one of each or more."
            )
        known = watermark if watermark.differentiable else StraightThrough(watermark)

        def objective(rows: list[int]) -> Objective:
            part, wanted = faces.select(rows), replace(aim, references=aim.references[rows], labels=aim.labels[rows])
            views = [
                _view(s, t, part, wanted, self.losses, purifier) for s, t in zip(surrogates, thresholds, strict=True)
            ]
            words = None if messages is None else messages[rows]
            return _Dormant(views, known, self._source(part, watermark.bits, words, rng), self.losses, purifier)

        with borrowed(*surrogates, watermark):
            if self.universal:
                return self._shared(faces, objective, rng)
            space = ball(faces.images, eps_255=self.eps_255)
            return minimise(objective(list(range(len(faces)))), space, self._rule(space.radius), self.steps, rng)

    def _shared(self, faces: Faces, objective: Callable[[list[int]], Objective], rng: torch.Generator) -> Tensor:
        """Cross-fitted: what is crafted on one half of the people is applied to the other."""
        halves = _halves(faces)
        result = faces.images.clone()
        for on, to in (halves, halves[::-1]):
            images = faces.images[on]
            # One perturbation lives in the ball around mid-grey, shifted by a half.
            grey = torch.full_like(images[:1], 0.5)
            space = ball(grey, eps_255=self.eps_255)
            loss = objective(on)

            def over_all(shifted: Tensor, images: Tensor = images, loss: Objective = loss) -> Tensor:
                return loss((images + shifted - 0.5).clamp(0, 1)).mean().reshape(1)

            found = minimise(over_all, space, self._rule(space.radius), self.steps, rng) - grey
            result[to] = ball(faces.images[to], eps_255=self.eps_255).project(faces.images[to] + found)
        return result

    def _rule(self, radius: float) -> Annealed:
        return Annealed(SignStep(self.step * radius, self.decay), self.steps, self.last_step)

    def _source(
        self, faces: Faces, bits: int, messages: Tensor | None, rng: torch.Generator
    ) -> Callable[[], Sequence[Tensor]]:
        if messages is not None:
            known = messages.to(faces.images.device)
            return lambda: [known]
        return lambda: [draw(len(faces), bits, rng).to(faces.images.device) for _ in range(self.draws)]


def _halves(faces: Faces) -> tuple[list[int], list[int]]:
    """Rows of the first and of the second half of the people.

    Raises:
        ConfigError: there is only one person.
    """
    people = sorted(set(faces.identities.tolist()))
    if len(people) < 2:
        raise ConfigError(
            "A universal perturbation is crafted on one half of the people and applied to the other; found one person "
            "in the batch, wanted two or more. Raise size.batch_size or size.identities."
        )
    first = set(people[: len(people) // 2])
    rows: tuple[list[int], list[int]] = ([], [])
    for row, person in enumerate(faces.identities.tolist()):
        rows[person not in first].append(row)
    return rows


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=1)


@torch.no_grad()
def _view(
    surrogate: FRTarget, threshold: float, faces: Faces, aim: Aim, losses: Losses, purifier: Purifier | None
) -> _View:
    own = faces.images if purifier is None else purifier(faces.images)
    reference = functional.normalize(surrogate.embed(aim.references), dim=1)
    return _View(surrogate, threshold, surrogate.embed(own), reference, aim.kind, losses)
