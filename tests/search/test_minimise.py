"""The search loop, its rules and the loan of models, against closed forms."""

import pytest
import torch
from torch import nn

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import L2Step, SignStep, borrowed, minimise, objectives, scaled
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall
from facesec_bench.targets.toy import ToyTarget

RNG = generator(0, "search tests")
GREY = torch.full((2, 3, 8, 8), 0.5)


def weights() -> torch.Tensor:
    return torch.randn(3, 8, 8, generator=generator(3, "w"))


def linear(images: torch.Tensor) -> torch.Tensor:
    return (images * weights()).sum((1, 2, 3))


def test_sign_steps_on_a_linear_loss_reach_the_corner_of_the_ball():
    result = minimise(linear, PixelBall(GREY, 0.1), SignStep(0.03), 10, RNG)
    assert torch.allclose(result, GREY - 0.1 * weights().sign(), atol=1e-7)


def test_l2_steps_on_a_linear_loss_end_at_minus_r_times_the_unit_weight():
    result = minimise(linear, PixelBall(GREY, 0.5, "l2"), L2Step(0.2), 20, RNG)
    assert torch.allclose(result, GREY - 0.5 * weights() / weights().norm(), atol=1e-6)


def test_a_quadratic_is_minimised_at_its_own_minimum_when_that_lies_inside():
    goal = GREY + 0.02 * weights().clamp(-1, 1)
    result = minimise(lambda x: (x - goal).square().sum((1, 2, 3)), PixelBall(GREY, 1.0, "l2"), L2Step(0.002), 200, RNG)
    assert (result - goal).norm() < 0.01


def test_momentum_follows_the_recurrence_of_the_paper_by_hand():
    gradients = [torch.tensor([[[[1.0, -3.0]]]]), torch.tensor([[[[-6.0, 2.0]]]])]
    rule = SignStep(0.1, decay=0.5)
    start = torch.zeros(1, 1, 1, 2)
    first = rule.step(start, lambda _: gradients[0])
    assert torch.allclose(rule.memory, torch.tensor([[[[0.5, -1.5]]]]))  # g / mean|g|
    second = rule.step(first, lambda _: gradients[1])
    assert torch.allclose(rule.memory, torch.tensor([[[[0.25 - 1.5, -0.75 + 0.5]]]]))
    assert torch.allclose(second, torch.tensor([[[[-0.1 + 0.1, 0.1 + 0.1]]]]))


def test_look_ahead_takes_the_gradient_where_momentum_leads():
    seen = []

    def gradient_at(at):
        seen.append(at.clone())
        return torch.tensor([[[[1.0, -3.0]]]])

    rule = SignStep(0.1, decay=0.5, look_ahead=True)
    first = rule.step(torch.zeros(1, 1, 1, 2), gradient_at)
    rule.step(first, gradient_at)
    assert torch.equal(seen[0], torch.zeros(1, 1, 1, 2))
    # Descent: the next point is x - size * decay * memory, memory = (0.5, -1.5).
    assert torch.allclose(seen[1], first - 0.1 * 0.5 * torch.tensor([[[[0.5, -1.5]]]]))


def test_a_rule_forgets_the_search_before():
    rule = SignStep(0.03, decay=1.0)
    once = minimise(linear, PixelBall(GREY, 0.1), rule, 2, RNG)
    minimise(lambda x: -linear(x), PixelBall(GREY, 0.1), rule, 5, RNG)
    assert torch.equal(minimise(linear, PixelBall(GREY, 0.1), rule, 2, RNG), once)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_images_result_does_not_depend_on_its_batch_mates(norm):
    rng = generator(1, "mates")
    image, anchor = torch.rand(1, 3, 64, 64, generator=rng), torch.randn(64, generator=rng)
    mates = torch.rand(3, 3, 64, 64, generator=rng)
    toy = ToyTarget()

    def attack(images):
        space = PixelBall(images, 0.03 if norm == "linf" else 2.0, norm)
        rule = SignStep(0.01, decay=1.0) if norm == "linf" else L2Step(0.5)
        return minimise(lambda x: toy.embed(x) @ anchor, space, rule, 5, RNG)

    alone, among = attack(image)[0], attack(torch.cat([image, mates]))[0]
    # A sign can flip only where a gradient is zero to float precision: hardly ever, and by two steps then.
    assert ((alone - among).abs() > 1e-5).float().mean() < 1e-3


def test_several_objectives_are_averaged():
    other = torch.randn(3, 8, 8, generator=generator(4, "w"))
    parts = [linear, lambda x: (x * other).sum((1, 2, 3))]
    result = minimise(parts, PixelBall(GREY, 0.5, "l2"), L2Step(0.2), 20, RNG)
    mean = (weights() + other) / 2
    assert torch.allclose(result, GREY - 0.5 * mean / mean.norm(), atol=1e-6)


def test_a_zero_gradient_leaves_its_image_alone_and_harms_no_other():
    def first_only(images):
        return linear(images) * torch.tensor([1.0, 0.0])

    for rule, norm in ((SignStep(0.03, decay=1.0), "linf"), (L2Step(0.03), "l2")):
        result = minimise(first_only, PixelBall(GREY, 0.1, norm), rule, 3, RNG)
        assert result.isfinite().all()
        assert torch.equal(result[1], GREY[1]) and not torch.equal(result[0], GREY[0])


def test_scaled_gradients_have_mean_one_or_length_one_and_zero_stays_zero():
    gradient = torch.stack([weights(), torch.zeros(3, 8, 8), weights() * 1e-30])
    assert scaled(gradient, "l1")[[0, 2]].abs().mean((1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert float(scaled(gradient, "l2")[0].norm()) == pytest.approx(1)
    assert not scaled(gradient, "l1")[1].any()


def test_a_nan_gradient_is_an_error_that_names_the_image():
    def broken(images):
        return images.flatten(1).sum(1).sub(96.0).abs().sqrt() * torch.tensor([0.0, 1.0])

    with pytest.raises(TargetError, match=r"\[0, 1\]|\[1\]"):
        minimise(broken, PixelBall(GREY, 0.1), SignStep(0.03), 1, RNG)


def test_a_broken_gradient_is_an_error_and_not_a_clean_image():
    with pytest.raises(TargetError, match="No gradient"):
        minimise(lambda x: x.detach().sum((1, 2, 3)), PixelBall(GREY, 0.1), SignStep(0.03), 1, RNG)


def test_a_loss_that_is_not_one_per_image_is_refused():
    with pytest.raises(TargetError, match="wanted one each"):
        minimise(lambda x: x.sum(), PixelBall(GREY, 0.1), SignStep(0.03), 1, RNG)


def test_negative_steps_are_refused_and_zero_steps_give_the_start():
    assert torch.equal(minimise(linear, PixelBall(GREY, 0.1), SignStep(0.03), 0, RNG), GREY)
    with pytest.raises(ConfigError):
        minimise(linear, PixelBall(GREY, 0.1), SignStep(0.03), -1, RNG)


def test_the_judge_keeps_each_images_best_visit():
    # A step of 0.3 jumps back and forth over the minimum at 0.6: the last visit is worse than an earlier one.
    images = torch.tensor([0.5, 0.1]).view(2, 1, 1, 1)

    def bowl(x):
        return (x - 0.6).square().sum((1, 2, 3))

    last = minimise(bowl, PixelBall(images, 1.0), SignStep(0.3), 4, RNG)
    best = minimise(bowl, PixelBall(images, 1.0), SignStep(0.3), 4, RNG, judge=bowl)
    assert best.flatten().tolist() == pytest.approx([0.5, 0.7])
    assert (bowl(best) <= bowl(last)).all()


def test_an_image_stops_where_it_has_arrived_and_the_others_go_on():
    images = torch.tensor([0.5, 0.9]).view(2, 1, 1, 1)
    moves = []
    result = minimise(
        lambda x: x.sum((1, 2, 3)), PixelBall(images, 1.0), SignStep(0.1), 9, RNG,
        until=lambda x: x.flatten() < 0.45, progress=lambda done, steps: moves.append((done, steps)),
    )  # fmt: skip
    assert result.flatten().tolist() == pytest.approx([0.4, 0.4])
    assert moves == [(i, 9) for i in range(1, 6)], "the search ends when all have arrived"


def test_the_loop_serves_another_space_and_an_adaptive_rule():
    """Adam in a latent space, as later attacks need it, takes a space and a rule and no change to the loop."""

    class Sigmoid:
        def start(self, rng):
            return torch.zeros(2, 5)

        def render(self, latents):
            return torch.sigmoid(latents).view(2, 1, 1, 5)

        def project(self, latents):
            return latents

    class Adam:
        def reset(self):
            self.optimiser = None

        def step(self, params, gradient_at):
            if self.optimiser is None:
                self.leaf = params.clone().requires_grad_(True)
                self.optimiser = torch.optim.Adam([self.leaf], lr=0.1)
            self.leaf.data.copy_(params)
            self.leaf.grad = gradient_at(params)
            self.optimiser.step()
            return self.leaf.detach().clone()

    result = minimise(lambda x: (x - 0.7).square().sum((1, 2, 3)), Sigmoid(), Adam(), 200, RNG)
    assert torch.allclose(torch.sigmoid(result), torch.full((2, 5), 0.7), atol=1e-2)


def test_borrowed_models_come_back_as_they_were_even_after_an_error():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    with pytest.raises(RuntimeError), borrowed(model, object()):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        raise RuntimeError
    assert [m.training for m in model.modules()] == [True, True, False]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True]


def test_loans_nest():
    model = nn.Linear(2, 2)
    with borrowed(model):
        with borrowed(model):
            pass
        assert not model.training and not model.weight.requires_grad
    assert model.training and model.weight.requires_grad


def test_an_attack_without_a_surrogate_says_so():
    faces = Faces(GREY, torch.arange(2), ("a", "b"), ("a", "b"))
    with pytest.raises(ConfigError, match="surrogate"):
        objectives(Aim("dodge", GREY, torch.arange(2), faces), [])
