"""Training: `fit`, the only weight-training loop in the repository.

What is trained (modules), on what (batches), towards what (loss) and how (optimiser, schedule) come in; the loop adds
nothing but order: draw, differentiate, check, step, watch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from facesec_bench.errors import ConfigError, TrainingError

T = TypeVar("T")
Watch = Callable[[int], dict[str, float]]


class Point(NamedTuple):
    """One point of a training curve.

    Attributes:
        step: how many steps were done, from 1.
        loss: mean over the steps since the last point.
        measures: what `watch` said; empty without one.
    """

    step: int
    loss: float
    measures: dict[str, float]


def fit(
    modules: nn.Module | Sequence[nn.Module],
    batches: Callable[[int, torch.Generator], T],
    loss: Callable[[T], Tensor],
    *,
    optimiser: Callable[[list[nn.Parameter]], Optimizer],
    steps: int,
    rng: torch.Generator,
    schedule: Callable[[Optimizer], LRScheduler] | None = None,
    clip_norm: float | None = None,
    train_mode: bool = True,
    every: int = 100,
    watch: Watch | None = None,
    until: Callable[[dict[str, float]], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Point]:
    """Train all parameters of `modules`, and nothing else, in place.

    Whatever else the loss runs through (a frozen recogniser, a base network around an adapter) gets no gradient. Modes
    (train or eval), `requires_grad` flags, `.grad` fields and torch's global generators are afterwards as they were,
    even after an error; the weights then stay where the last good step left them.

    Args:
        modules: what trains. A part of a network may be given; the rest is left in the mode it is in.
        batches: (step from 0, rng) -> whatever the loss takes; a curriculum reads the step.
        loss: batch -> () to be made smaller.
        optimiser: parameters -> a fresh optimiser, e.g. `lambda p: torch.optim.Adam(p, lr=1e-3)`.
        steps: at most so many.
        rng: passed to `batches`, on its own device; also seeds torch's global generators for the time of the training,
            so that dropout is repeatable.
        schedule: optimiser -> a scheduler of torch, stepped once after every step.
        clip_norm: the greatest Euclidean norm of the whole gradient; None leaves it.
        train_mode: False trains in eval mode: BatchNorm keeps its statistics, dropout is off.
        every: steps between two points; the last step always makes one.
        watch: (steps done) -> measures by name, called in eval mode without gradients. It must not draw from `rng`.
        until: measures -> whether to stop; asked after each watch.
        progress: called as progress(steps done, steps).

    Returns:
        The curve, at least one point if `steps` is not 0.

    Raises:
        ConfigError: an argument out of range, `until` without `watch`, or modules without a parameter.
        TrainingError: a loss that is no finite number, or a gradient that is missing, NaN or infinite.
    """
    parts = [modules] if isinstance(modules, nn.Module) else list(modules)
    parameters = list({id(p): p for part in parts for p in part.parameters()}.values())
    _check(parameters, steps, every, clip_norm, watch, until)
    curve: list[Point] = []
    since: list[float] = []
    with _training(parts, parameters, train_mode), _repeatable(parameters, rng):
        rule = optimiser(parameters)
        scheduler = schedule(rule) if schedule else None
        for step in range(steps):
            value = loss(batches(step, rng))
            since.append(_number(value, step))
            _differentiate(value, parameters, clip_norm, step)
            rule.step()
            if scheduler:
                scheduler.step()
            if progress:
                progress(step + 1, steps)
            if (step + 1) % every and step + 1 < steps:
                continue
            measures = _watched(watch, step + 1, parts)
            curve.append(Point(step + 1, math.fsum(since) / len(since), measures))
            since.clear()
            if until and until(measures):
                break
    return curve


def _check(
    parameters: Sequence[nn.Parameter],
    steps: int,
    every: int,
    clip_norm: float | None,
    watch: Watch | None,
    until: Callable[[dict[str, float]], bool] | None,
) -> None:
    if steps < 0 or every < 1:
        raise ConfigError(f"fit: found steps = {steps} and every = {every}, wanted 0 or more and 1 or more.")
    if clip_norm is not None and not clip_norm > 0:
        raise ConfigError(f"fit: found clip_norm = {clip_norm}, wanted above 0, or None to leave gradients alone.")
    if until and not watch:
        raise ConfigError("fit: found `until` without `watch`: it would judge measures that nobody takes.")
    if not parameters:
        raise ConfigError("fit: found no parameter in the modules, wanted at least one (buffers do not train).")


@contextmanager
def _training(parts: Sequence[nn.Module], parameters: Sequence[nn.Parameter], train_mode: bool) -> Iterator[None]:
    """The modules in training, everything of theirs as it was after."""
    modes = [(m, m.training) for part in parts for m in part.modules()]
    state = [(p, p.requires_grad, p.grad) for p in parameters]
    try:
        for part in parts:
            part.train(train_mode)
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag, gradient in state:
            parameter.requires_grad_(flag)
            parameter.grad = gradient


@contextmanager
def _repeatable(parameters: Sequence[nn.Parameter], rng: torch.Generator) -> Iterator[None]:
    """Torch's global generators seeded from `rng` inside (dropout draws from them), as they were after."""
    cards = sorted({p.device.index for p in parameters if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng, device=rng.device)))
        yield


def _number(value: Tensor, step: int) -> float:
    if value.numel() != 1:
        raise TrainingError(f"Step {step}: found a loss of shape {tuple(value.shape)}, wanted one number; average it.")
    number = float(value.detach())
    if not math.isfinite(number):
        raise TrainingError(
            f"Step {step}: the loss is {number}. Lower the learning rate, give a clip_norm, or check this batch."
        )
    return number


def _differentiate(value: Tensor, parameters: list[nn.Parameter], clip_norm: float | None, step: int) -> None:
    """Put the gradient of `value` into the parameters' `.grad`, and into nothing else's (`backward` would)."""
    if not value.requires_grad:
        raise TrainingError(f"Step {step}: the loss does not depend on the modules that are to be trained.")
    gradients = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    known = [g for g in gradients if g is not None]
    if not known:
        raise TrainingError(f"Step {step}: the loss does not depend on the modules that are to be trained.")
    size = torch.nn.utils.get_total_norm(known)
    if not size.isfinite():
        raise TrainingError(f"Step {step}: the gradient is NaN or infinite. Lower the learning rate or check the loss.")
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if clip_norm is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip_norm, size)


@torch.no_grad()
def _watched(watch: Watch | None, done: int, parts: Sequence[nn.Module]) -> dict[str, float]:
    if watch is None:
        return {}
    modes = [(m, m.training) for part in parts for m in part.modules()]
    try:
        for part in parts:
            part.eval()
        return watch(done)
    finally:
        for module, training in modes:
            module.training = training
