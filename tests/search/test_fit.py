"""The training loop against closed forms, and what it must leave as it found it; the cache of trained weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from facesec_bench import trained
from facesec_bench.errors import ConfigError, TrainingError
from facesec_bench.seeds import generator
from facesec_bench.training import Point, fit


def problem(n=50, d=3):
    rng = generator(0, "least squares")
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x, x @ torch.arange(1.0, d + 1, dtype=torch.float64) + torch.randn(n, generator=rng, dtype=torch.float64)


def linear(d=3, start=0.0):
    layer = nn.Linear(d, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(layer.weight, start)
    return layer


def squares(layer, x, y):
    return lambda _: (layer(x)[:, 0] - y).square().mean()


def sgd(lr):
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def nothing(step, rng):
    return None


def test_least_squares_ends_at_the_normal_equations_solution():
    x, y = problem()
    layer = linear()
    curve = fit(layer, nothing, squares(layer, x, y), optimiser=sgd(0.3), steps=300, rng=generator(0))
    wanted = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0]
    assert np.allclose(layer.weight.detach().numpy()[0], wanted, atol=1e-9)
    assert [p.step for p in curve] == [100, 200, 300] and curve[0].loss > curve[1].loss > 0


def test_one_step_of_sgd_is_the_one_worked_out_by_hand():
    layer = linear(1, start=2.0)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    (point,) = fit(layer, nothing, squares(layer, x, y), optimiser=sgd(0.01), steps=1, rng=generator(0))
    # loss (3 w - 1)^2 at w = 2 is 25, its slope 2 * 3 * 5 = 30
    assert point == Point(1, 25.0, {}) and layer.weight.item() == pytest.approx(2.0 - 0.01 * 30)


def test_the_gradient_is_clipped_to_its_norm():
    layer = linear(1, start=2.0)
    x, y = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    fit(layer, nothing, squares(layer, x, y), optimiser=sgd(0.01), steps=1, rng=generator(0), clip_norm=3.0)
    assert layer.weight.item() == pytest.approx(2.0 - 0.01 * 3, abs=1e-6)


def test_the_schedule_sets_the_rate_of_each_step():
    layer = linear(1)
    halves = lambda rule: torch.optim.lr_scheduler.ExponentialLR(rule, 0.5)  # noqa: E731
    fit(layer, nothing, lambda _: -layer.weight.sum(), optimiser=sgd(1.0), steps=4, rng=generator(0), schedule=halves)
    assert layer.weight.item() == 1 + 0.5 + 0.25 + 0.125


def test_only_the_given_modules_train_and_nothing_else_gets_a_gradient():
    body, head = nn.Linear(4, 4), nn.Linear(4, 1)
    before = body.weight.detach().clone()
    fit(head, nothing, lambda _: head(body(torch.ones(2, 4))).mean(), optimiser=sgd(0.1), steps=3, rng=generator(0))
    assert torch.equal(body.weight, before) and body.weight.grad is None and head.weight.grad is None


class Halting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.calls = nn.Linear(2, 2), nn.BatchNorm1d(2), 0

    def forward(self, x):
        assert self.training and self.norm.training and self.layer.weight.requires_grad
        self.calls += 1
        if self.calls == 3:
            raise RuntimeError("planted")
        return self.norm(self.layer(x)).square().mean()


def test_modes_flags_gradients_and_the_global_generator_are_restored_after_an_error():
    module = Halting().eval().requires_grad_(False)
    module.norm.train()
    kept = module.layer.bias.grad = torch.ones(2)
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="planted"):
        fit(module, lambda step, rng: torch.randn(5, 2), module, optimiser=sgd(0.1), steps=9, rng=generator(0))
    assert not module.training and not module.layer.training and module.norm.training
    assert not any(p.requires_grad for p in module.parameters())
    assert module.layer.bias.grad is kept and torch.equal(torch.get_rng_state(), state)


def test_eval_mode_keeps_the_statistics_of_batchnorm():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    loss = lambda batch: module(batch).square().mean()  # noqa: E731
    options = {"optimiser": sgd(0.1), "steps": 2, "rng": generator(0), "train_mode": False}
    fit(module, lambda step, rng: 5 + torch.randn(8, 2, generator=rng), loss, **options)
    assert torch.equal(module[1].running_mean, torch.zeros(2)) and module.training


def trained_with_dropout(seed):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    draw = lambda step, rng: torch.ones(4, 3)  # noqa: E731
    fit(module, draw, lambda x: module(x).square().mean(), optimiser=sgd(0.1), steps=5, rng=generator(seed))
    return module[0].weight.detach().clone()


def test_dropout_follows_the_seed_whatever_the_world_drew_before():
    first = trained_with_dropout(1)
    torch.randn(7)
    assert torch.equal(first, trained_with_dropout(1)) and not torch.equal(first, trained_with_dropout(2))


def test_a_point_s_loss_is_the_mean_since_the_last_point():
    layer = linear()
    loss = lambda step: 0 * layer.weight.sum() + step  # noqa: E731
    curve = fit(layer, lambda step, rng: step, loss, optimiser=sgd(0.1), steps=5, rng=generator(0), every=2)
    assert curve == [Point(2, 0.5, {}), Point(4, 2.5, {}), Point(5, 4.0, {})]


def test_watching_is_in_eval_mode_and_until_stops_the_training():
    module = nn.Linear(1, 1)
    seen = []

    def watch(done):
        seen.append((done, module.training, torch.is_grad_enabled()))
        return {"done": float(done)}

    options = {"optimiser": sgd(0.0), "steps": 50, "rng": generator(0), "every": 4, "watch": watch}
    curve = fit(module, nothing, lambda _: module.weight.sum(), until=lambda m: m["done"] >= 8, **options)
    assert seen == [(4, False, False), (8, False, False)] and [p.measures["done"] for p in curve] == [4, 8]
    assert module.training


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error_that_names_the_step(bad):
    layer = linear()
    loss = lambda step: layer.weight.sum() * (bad if step == 2 else 1.0)  # noqa: E731
    with pytest.raises(TrainingError, match=r"Step 2: the loss is (nan|-?inf).*learning rate"):
        fit(layer, lambda step, rng: step, loss, optimiser=sgd(0.1), steps=5, rng=generator(0))


def test_a_gradient_that_is_no_number_is_an_error_before_it_reaches_the_weights():
    layer = linear(start=0.0)
    with pytest.raises(TrainingError, match="Step 0: the gradient"):
        fit(layer, nothing, lambda _: layer.weight.norm().sqrt(), optimiser=sgd(0.1), steps=1, rng=generator(0))
    assert torch.equal(layer.weight, torch.zeros_like(layer.weight))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": -1}, ConfigError, "steps = -1"),
        ({"every": 0}, ConfigError, "every = 0"),
        ({"clip_norm": 0.0}, ConfigError, "clip_norm"),
        ({"until": bool}, ConfigError, "without `watch`"),
        ({"modules": nn.ReLU()}, ConfigError, "no parameter"),
        ({"loss": lambda _: torch.ones(())}, TrainingError, "does not depend"),
        ({"loss": lambda _: functional.linear(torch.ones(2), torch.ones(3, 2)).requires_grad_()}, TrainingError, "one"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(change, error, words):
    layer = linear()
    given = {"modules": layer, "batches": nothing, "loss": lambda _: layer.weight.sum(), "steps": 1}
    with pytest.raises(error, match=words):
        fit(**{**given, "optimiser": sgd(0.1), "rng": generator(0), **change})


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACESEC_CACHE", str(tmp_path))
    return tmp_path


RECIPE = {"steps": 3, "data": "abc", "code": "def"}


def test_trained_weights_come_back_bit_for_bit_under_their_own_recipe_only(cache):
    tensors = {"a": torch.randn(2, 3).T.half(), "b": torch.tensor(1.5)}
    path = trained.store("net", RECIPE, tensors, [Point(10, 0.5, {"accuracy": 1.0})])
    back = trained.load("net", RECIPE)
    assert path == trained.path("net", RECIPE) and path.parent == cache / "trained"
    assert back.keys() == tensors.keys() and all(torch.equal(back[k], tensors[k]) for k in tensors)
    assert trained.load_curve("net", RECIPE) == [Point(10, 0.5, {"accuracy": 1.0})]
    assert trained.load("net", {**RECIPE, "steps": 4}) is None and trained.load("other", RECIPE) is None


def test_damaged_or_unexplained_weights_do_not_count(cache):
    path = trained.store("net", RECIPE, {"a": torch.ones(4)})
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x01")
    assert trained.load("net", RECIPE) is None
    path.write_bytes(content)
    assert trained.load("net", RECIPE) is not None
    path.with_suffix(".json").unlink()
    assert trained.load("net", RECIPE) is None


def test_a_recipe_that_cannot_be_written_down_is_refused(cache):
    with pytest.raises(ConfigError, match="recipe cannot be written"):
        trained.store("net", {"data": object()}, {})
    with pytest.raises(ConfigError, match="file name"):
        trained.path("../net", RECIPE)
