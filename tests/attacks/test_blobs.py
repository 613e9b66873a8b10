"""Recovery by blobs: it comes nearer, asks what it says, and paints what it says."""

from dataclasses import replace

import pytest
import torch

from attacks.blobs import SIDE, Blobs
from attacks.greedy import GreedyRule
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget


def victim(**changes) -> EmbeddingAccess:
    toy = ToyTarget()
    coarse = torch.rand(3, 1, 6, 6, generator=generator(0, "faces")).expand(-1, 3, -1, -1)
    chips = torch.nn.functional.interpolate(coarse, CHIP_SIZE, mode="bilinear")
    with torch.no_grad():
        return EmbeddingAccess(toy, **({"level": "similarity", "enrolled": toy.embed(chips)} | changes))


PEOPLE = torch.tensor([2, 0])
SHORT = Blobs(steps=10, proposals=8, starts=2, start_steps=2, amplitude=0.1)
NO_PUBLIC = torch.empty(0, 3, CHIP_SIZE, CHIP_SIZE)


@pytest.fixture(scope="module")
def recovered():
    access = victim()
    chips = SHORT(PEOPLE, access, NO_PUBLIC, generator(0, "blobs"))
    return chips, access.meter.queries, access


def test_pictures_come_nearer_to_whom_they_should_show(recovered):
    chips, _, access = recovered
    grey = torch.full_like(chips, 0.5)
    assert (access.similarity(chips, PEOPLE) > access.similarity(grey, PEOPLE) + 0.05).all()
    longer = replace(SHORT, steps=40)(PEOPLE, access, NO_PUBLIC, generator(0, "blobs"))
    assert (access.similarity(longer, PEOPLE) > access.similarity(chips, PEOPLE)).all()


def test_queries_are_those_that_it_says_and_a_budget_ends_it(recovered):
    assert recovered[1] == len(PEOPLE) * SHORT.queries == 2 * 8 * (10 + 2 * 2)
    with pytest.raises(AccessError, match="budget is 100"):
        SHORT(PEOPLE, victim(most=100), NO_PUBLIC, generator(0))


def test_pictures_are_grey_symmetric_and_within_range(recovered):
    chips = recovered[0]
    assert chips.shape == (2, 3, CHIP_SIZE, CHIP_SIZE) and chips.min() >= 0 and chips.max() <= 1
    assert torch.equal(chips[:, 0], chips[:, 1]) and torch.equal(chips[:, 0], chips[:, 2])
    pictures = torch.full((1, 1, SIDE, SIDE), 0.5)
    proposals = SHORT._propose(pictures, torch.zeros(1), generator(0))
    assert torch.allclose(proposals, proposals.flip(-1), atol=1e-6)
    lopsided = Blobs(symmetric=False)._propose(pictures, torch.zeros(1), generator(0))
    assert not torch.allclose(lopsided, lopsided.flip(-1), atol=1e-3)


def test_blobs_shrink_as_the_picture_grows_alike():
    pictures = torch.full((3, 1, SIDE, SIDE), 0.5)
    proposals = Blobs(proposals=200, symmetric=False)._propose(pictures, torch.tensor([-1.0, 0.1, 0.9]), generator(0))
    change = (proposals - 0.5).abs()
    spread = (change.sum((2, 3, 4)) / change.amax((2, 3, 4))).mean(1)  # 2 pi sigma^2 of a bell
    assert spread[0] > spread[1] > spread[2]
    # sigma^2 = (10 + 75) / 4 on average where coarseness is spent
    assert spread[2].item() == pytest.approx(2 * torch.pi * 85 / 4, rel=0.15)


def test_the_rule_takes_the_best_proposal_even_where_it_is_worse():
    asked = []

    def ask(few, rows, view):
        asked.append(len(few))
        return -few[:, 0].abs()

    rule = GreedyRule(lambda p, s, rng: torch.stack([p + 1, p + 2], 1), ask, generator(0), at_once=3)
    params = rule.step(torch.tensor([[5.0], [-3.0]]), None)
    assert params.tolist() == [[6.0], [-1.0]] and rule.score.tolist() == [-6.0, -1.0] and asked == [3, 1]


def test_all_proposals_of_a_step_are_asked_about_under_one_view_and_the_next_step_s_under_another():
    views = []

    def ask(few, rows, view):
        views.append(view)
        return -few[:, 0].abs()

    rule = GreedyRule(lambda p, s, rng: torch.stack([p + 1, p + 2], 1), ask, generator(0), at_once=3)
    rule.step(rule.step(torch.zeros(2, 1), None), None)
    assert views[0] == views[1] != views[2] == views[3]


def test_what_was_known_of_the_beginning_decides_the_first_proposals():
    known = []

    def propose(params, score, rng):
        known.append(score.tolist())
        return torch.stack([params + 1, params + 2], 1)

    rule = GreedyRule(propose, lambda few, rows, view: few[:, 0], generator(0), known=torch.tensor([0.3]))
    for _ in range(2):
        rule.reset()
        for _ in range(2):
            rule.step(torch.zeros(1, 1), None)
    assert [row[0] for row in known] == pytest.approx([0.3, 2.0, 0.3, 2.0])


def test_views_change_what_is_painted_and_cost_no_query():
    access, plain = victim(), victim()
    seen = replace(SHORT, jitter=Jitter(shift=0.1, scale=0.1))(PEOPLE, access, NO_PUBLIC, generator(0, "blobs"))
    chips = SHORT(PEOPLE, plain, NO_PUBLIC, generator(0, "blobs"))
    assert access.meter.queries == plain.meter.queries and not torch.equal(seen, chips)


def test_the_same_seed_gives_the_same_picture():
    short = Blobs(steps=2, proposals=4, starts=2, start_steps=1)
    one, two, other = (short(PEOPLE, victim(), NO_PUBLIC, generator(s, "blobs")) for s in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    with pytest.raises(ConfigError, match="above 0"):
        Blobs(proposals=0)
