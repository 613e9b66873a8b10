"""Search: `minimise`, the only attack-optimisation loop in the repository, and what it is built from.

An attack is one objective x one space x one step rule: the objective says what is good, the space what is allowed, and
the rule how a gradient becomes a move. Input transforms wrap the objective, gradient transforms wrap the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import FRTarget, Space

Objective = Callable[[Tensor], Tensor]
"""(B, 3, H, W) images -> (B,) losses, lower is better; row i may depend on image i only."""

GradientAt = Callable[[Tensor], Tensor]
"""(B, ...) parameters -> (B, ...) the gradient of each image's own loss there."""


class Rule(Protocol):
    """How gradients become a move. A rule may hold a memory (momentum) of the search it serves."""

    def reset(self) -> None:
        """Forget any earlier search; `minimise` calls it first."""
        ...

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """The next parameters, before projection. Gradients may be asked for anywhere and more than once."""
        ...


@runtime_checkable
class Narrowing(Protocol):
    """A rule whose memory can shrink to some of the images."""

    def keep(self, active: Tensor) -> None:
        """The search goes on with the images where `active`, (B,) bool, holds."""
        ...


@dataclass(frozen=True)
class Part:
    """A search of some of the images: what `minimise` takes, for them alone."""

    objectives: Sequence[Objective]
    space: Space
    penalty: Callable[[Tensor], Tensor] | None = None
    until: Callable[[Tensor], Tensor] | None = None


Narrow = Callable[[Tensor], Part]
"""Rows (k,) of the first batch -> the search of these images only."""


@contextmanager
def borrowed(*models: object) -> Iterator[None]:
    """Models on loan: eval mode and no parameter gradients inside; everything as it was after, even after an error.

    Only torch modules have such a state; other objects pass through untouched.
    """
    modules = [m for model in models if isinstance(model, nn.Module) for m in model.modules()]
    modes = [(m, m.training) for m in modules]
    flags = [(p, p.requires_grad) for m in modules for p in m.parameters(recurse=False)]
    try:
        for module in modules:
            module.training = False
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def objectives(aim: Aim, surrogates: Sequence[FRTarget]) -> list[Objective]:
    """The aim's loss on each surrogate; `minimise` takes their mean.

    Raises:
        ConfigError: there is no surrogate.
    """
    if not surrogates:
        raise ConfigError("This attack follows gradients and found no surrogate; name at least one target.")

    def on(surrogate: FRTarget) -> Objective:
        goal = aim.on(surrogate)
        return lambda images: goal.loss(surrogate.embed(images))

    return [on(surrogate) for surrogate in surrogates]


def minimise(
    objective: Objective | Sequence[Objective],
    space: Space,
    rule: Rule,
    steps: int,
    rng: torch.Generator,
    *,
    penalty: Callable[[Tensor], Tensor] | None = None,
    judge: Objective | None = None,
    until: Callable[[Tensor], Tensor] | None = None,
    look_every: int = 1,
    narrow: Narrow | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Search `space` for images of low `objective`; images do not influence one another.

    Args:
        objective: (B, 3, H, W) -> (B,); several are averaged, one graph in memory at a time.
        rule: how a gradient becomes a move.
        steps: number of moves, at least 0.
        rng: draws the start; a stochastic objective or rule holds its own generator.
        penalty: (B, ...) parameters -> (B,), added to the objective: what a space's own parameters cost.
        judge: (B, 3, H, W) -> (B,); if given, each image's best visited parameters by this score are returned, the
            start included (one more forward pass a step), and otherwise the last ones.
        until: (B, 3, H, W) -> (B,) bool; an image for which it holds stops moving, and the search ends when all do.
        look_every: moves between two looks of `until`, as each renders every image; the first is before any move.
        narrow: gives the search of some of the images; with `until`, images that stopped are then no longer computed.
            Without it they are computed and left where they are.
        progress: called as progress(moves done, steps).

    Returns:
        Parameters of the space, (B, ...), detached; `space.render` makes them images.

    Raises:
        ConfigError: `steps` is negative, `look_every` below 1, or `narrow` comes with `judge` or without `until`.
        TargetError: a loss is not (B,), or a gradient is missing, NaN or infinite.
    """
    if steps < 0:
        raise ConfigError(f"minimise: found steps = {steps}, wanted 0 or more.")
    if look_every < 1:
        raise ConfigError(f"minimise: found look_every = {look_every}, wanted 1 or more.")
    if narrow is not None and (judge is not None or until is None):
        raise ConfigError("minimise: `narrow` drops images that `until` stops; wanted `until` with it and no `judge`.")
    if narrow is not None and not isinstance(rule, Narrowing):
        raise ConfigError(f"minimise: found {type(rule).__name__}, wanted a rule with `keep`, such as AdamStep.")
    now = Part(_parts(objective), space, penalty, until)
    rule.reset()
    params = space.project(space.start(rng)).detach()
    best = _Best(judge, params, space) if judge else None
    whole, rows = params, torch.arange(len(params), device=params.device)
    active: Tensor | None = None  # as of the last look; None where all move
    for done in range(steps):
        if now.until is not None and done % look_every == 0:
            active = ~_verdict(now.until, now.space.render(params))
            if not active.any():
                break
            if narrow is not None and not active.all():
                whole = whole.index_copy(0, rows, params)
                rows, params = rows[active], params[active]
                rule.keep(active)  # type: ignore[attr-defined]
                now, active = narrow(rows), None
        moved = now.space.project(rule.step(params, partial(_gradient, now))).detach()
        params = moved if active is None else torch.where(_rows(active, moved), moved, params)
        if best:
            best.see(params)
        if progress:
            progress(done + 1, steps)
    return best.params if best else whole.index_copy(0, rows, params)


def _parts(objective: Objective | Sequence[Objective]) -> list[Objective]:
    return [objective] if callable(objective) else list(objective)


def _gradient(now: Part, params: Tensor) -> Tensor:
    """The gradient, at `params`, of each image's own loss averaged over the objectives, and of its penalty.

    Summed over images: the mean would scale an image's gradient by the size of its batch.
    """
    total = torch.zeros_like(params)
    for part in now.objectives:
        leaf = params.detach().requires_grad_(True)
        with torch.enable_grad():
            losses = part(now.space.render(leaf))
            if losses.shape != (len(params),):
                raise TargetError(f"An objective gave {tuple(losses.shape)} for {len(params)} images, wanted one each.")
            if not losses.requires_grad:
                raise TargetError("No gradient reaches the image: a target breaks it; attack it by transfer instead.")
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        total += gradient / len(now.objectives)
    if now.penalty is not None:
        leaf = params.detach().requires_grad_(True)
        with torch.enable_grad():
            total += torch.autograd.grad(now.penalty(leaf).sum(), leaf)[0]
    finite = total.isfinite().flatten(1).all(1)
    if not finite.all():
        rows = (~finite).nonzero().flatten().tolist()
        raise TargetError(f"The gradient is NaN or infinite for images {rows[:10]}: check the target on these chips.")
    return total


def _rows(mask: Tensor, like: Tensor) -> Tensor:
    return mask.view(-1, *[1] * (like.ndim - 1))


@torch.no_grad()
def _verdict(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return function(images)


class _Best:
    """Each image's best parameters so far."""

    def __init__(self, judge: Objective, params: Tensor, space: Space) -> None:
        self.judge, self.space, self.params = judge, space, params
        self.score = _verdict(judge, space.render(params))

    def see(self, params: Tensor) -> None:
        score = _verdict(self.judge, self.space.render(params))
        better = score < self.score
        self.params = torch.where(_rows(better, params), params, self.params)
        self.score = torch.where(better, score, self.score)


def scaled(gradient: Tensor, norm: str) -> Tensor:
    """Each image's gradient divided by its mean absolute value ("l1") or its length ("l2"); a zero one stays zero."""
    flat = gradient.flatten(1)
    size = flat.abs().mean(1) if norm == "l1" else flat.norm(dim=1)
    # A gradient below the normal range would overflow to infinity: it is no direction, so it counts as zero.
    known = size > torch.finfo(size.dtype).tiny
    return torch.where(_rows(known, gradient), gradient / _rows(torch.where(known, size, 1.0), gradient), 0.0)


@dataclass
class SignStep:
    """The steepest descent step of the L-inf ball: `size` times the sign of the gradient, with optional momentum.

    The paper of momentum divides a gradient by its L1 norm; its released code, and that of the look-ahead, by the mean
    absolute value. The two differ only in the length of the look-ahead, where we follow the code.

    Attributes:
        size: in pixel units.
        decay: momentum factor; 0 keeps no memory (Dong et al., CVPR 2018, Algorithm 1).
        look_ahead: take the gradient where momentum alone would lead (Lin et al., ICLR 2020, Eq. 6).
    """

    size: float
    decay: float = 0.0
    look_ahead: bool = False
    memory: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the momentum."""
        self.memory = None

    def keep(self, active: Tensor) -> None:
        """Keep the momentum of these images only."""
        self.memory = None if self.memory is None else self.memory[active]

    def point(self, params: Tensor) -> Tensor:
        """Where the gradient is taken."""
        if not self.look_ahead or self.memory is None:
            return params
        return params - self.size * self.decay * self.memory

    def accumulate(self, gradient: Tensor) -> Tensor:
        """The momentum after `gradient`, not stored."""
        if self.decay == 0.0:
            return gradient
        fresh = scaled(gradient, "l1")
        return fresh if self.memory is None else self.decay * self.memory + fresh

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Move against the sign of the accumulated gradient."""
        self.memory = self.accumulate(gradient_at(self.point(params)))
        return params - self.size * self.memory.sign()


@dataclass
class AdamStep:
    """Adam (Kingma and Ba, ICLR 2015, Algorithm 1) on each coordinate, so images do not influence one another.

    Attributes:
        size: the learning rate, in the space's own units.
        betas: decay of the two moments.
        epsilon: added to the root of the second.
    """

    size: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    moments: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    done: int = field(default=0, init=False)

    def reset(self) -> None:
        """Forget both moments."""
        self.moments, self.done = None, 0

    def keep(self, active: Tensor) -> None:
        """Keep the moments of these images only."""
        if self.moments is not None:
            self.moments = self.moments[0][active], self.moments[1][active]

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """One step against the bias-corrected first moment over the root of the second."""
        gradient, (b1, b2) = gradient_at(params), self.betas
        m, v = self.moments or (torch.zeros_like(params), torch.zeros_like(params))
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient.square()
        self.moments, self.done = (m, v), self.done + 1
        first, second = m / (1 - b1**self.done), v / (1 - b2**self.done)
        return params - self.size * first / (second.sqrt() + self.epsilon)


@dataclass
class NesterovStep:
    """Gradient descent with Nesterov's momentum, as `torch.optim.SGD(nesterov=True)`.

    Attributes:
        size: the learning rate, in the space's own units.
        decay: momentum factor in [0, 1).
    """

    size: float
    decay: float = 0.9
    memory: Tensor | None = field(default=None, init=False)

    def reset(self) -> None:
        """Forget the momentum."""
        self.memory = None

    def keep(self, active: Tensor) -> None:
        """Keep the momentum of these images only."""
        self.memory = None if self.memory is None else self.memory[active]

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Move against the gradient and the momentum after it."""
        gradient = gradient_at(params)
        self.memory = gradient if self.memory is None else self.decay * self.memory + gradient
        return params - self.size * (gradient + self.decay * self.memory)


@dataclass
class L2Step:
    """The steepest descent step of the Euclidean ball: `size` along the unit gradient (Madry et al., ICLR 2018)."""

    size: float

    def reset(self) -> None:
        """There is no memory."""

    def step(self, params: Tensor, gradient_at: GradientAt) -> Tensor:
        """Move `size` against the gradient."""
        return params - self.size * scaled(gradient_at(params), "l2")
