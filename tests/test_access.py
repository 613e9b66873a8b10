"""Access levels: what is forbidden raises, what is allowed is counted."""

import pytest
import torch
from torch import nn

from facesec_bench.access import CLASSIFIER_LEVELS, EMBEDDING_LEVELS, ClassifierAccess, EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget


class Small(nn.Module):
    """Three classes by mean colour."""

    name, classes, digest = "small", 3, "0" * 64

    def features(self, chips):
        return chips.mean((2, 3))

    def head(self, features):
        return 10 * features


def chips(n: int) -> torch.Tensor:
    return torch.rand(n, 3, CHIP_SIZE, CHIP_SIZE, generator=generator(0, "chips"))


ASKED = {
    "white": {"inside", "logits", "probabilities", "labels"},
    "soft_label": {"probabilities", "labels"},
    "hard_label": {"labels"},
}


@pytest.mark.parametrize("level", CLASSIFIER_LEVELS)
@pytest.mark.parametrize("what", sorted(ASKED["white"]))
def test_a_classifier_answers_what_its_level_allows_and_refuses_the_rest_uncounted(level, what):
    access = ClassifierAccess(Small(), level)
    if what in ASKED[level]:
        getattr(access, what)(chips(4))
        assert access.meter.queries == 4
    else:
        with pytest.raises(AccessError, match=f"at access level '{level}'"):
            getattr(access, what)(chips(4))
        assert access.meter.queries == 0


def test_gradients_flow_in_the_white_box_only_and_each_image_that_gets_one_is_counted():
    access, images = ClassifierAccess(Small(), "white"), chips(3).requires_grad_(True)
    access.labels(images)
    assert not access.probabilities(images).requires_grad and access.meter.gradients == 0
    torch.autograd.grad(access.logits(images).sum(), images)
    torch.autograd.grad(access.inside(images[:2])[0].sum(), images)
    assert (access.meter.queries, access.meter.gradients) == (11, 5)
    with torch.no_grad():
        access.logits(images)
    assert (access.meter.queries, access.meter.gradients) == (14, 5)


def test_a_budget_ends_and_what_exceeds_it_is_not_counted():
    access = ClassifierAccess(Small(), "hard_label", most=5)
    access.labels(chips(3))
    with pytest.raises(AccessError, match=r"3 queries asked and 3 more wanted, the budget is 5"):
        access.labels(chips(3))
    assert access.meter.left == 2
    access.labels(chips(2))
    assert access.meter.left == 0


def test_a_filter_on_answers_is_before_the_black_boxes_and_not_in_the_white_one():
    def nothing(logits):
        return torch.zeros_like(logits)

    images, logits = chips(2), 10 * chips(2).mean((2, 3))
    asked = ClassifierAccess(Small(), "soft_label", answer=nothing)
    assert torch.allclose(asked.probabilities(images), torch.full((2, 3), 1 / 3))
    assert asked.labels(images).tolist() == [0, 0]
    access = ClassifierAccess(Small(), "white", answer=nothing)
    assert torch.equal(access.logits(images), logits)
    assert torch.allclose(access.probabilities(images), logits.softmax(1))
    assert torch.equal(access.labels(images), logits.argmax(1))


@pytest.mark.parametrize("level", EMBEDDING_LEVELS)
def test_an_embedder_answers_what_its_level_allows(level):
    target = ToyTarget()
    with torch.no_grad():
        templates = target.embed(chips(2))
    access, images, people = EmbeddingAccess(target, level, 3 * templates), chips(2).requires_grad_(True), [1, 0]
    found = access.similarity(images, torch.tensor(people))
    with torch.no_grad():
        expected = (target.embed(images) * templates[people]).sum(1)
    assert torch.allclose(found, expected, atol=1e-6) and found.requires_grad == (level == "white")
    if level == "similarity":
        for ask in (lambda: access.embed(images), lambda: access.enrolled):
            with pytest.raises(AccessError, match="'similarity'"):
                ask()
    else:
        assert access.embed(images).requires_grad == (level == "white")
        assert torch.allclose(access.enrolled, templates, atol=1e-6)
    assert access.people == 2 and access.meter.queries == (2 if level == "similarity" else 4)


def test_an_unknown_level_a_negative_budget_and_no_template_are_refused():
    with pytest.raises(ConfigError, match="'grey', wanted one of: white, soft_label, hard_label"):
        ClassifierAccess(Small(), "grey")
    with pytest.raises(ConfigError, match="budget of -1"):
        ClassifierAccess(Small(), "white", most=-1)
    with pytest.raises(ConfigError, match="wanted \\(N, D\\)"):
        EmbeddingAccess(ToyTarget(), "white", torch.zeros(0, 8))
