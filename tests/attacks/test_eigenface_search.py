"""Search by eigenfaces: it comes nearer, with what it says it asks, and stays among the eigenfaces."""

import pytest
import torch
from torch.nn import functional

from attacks.eigenface_search import EigenfaceSearch
from attacks.greedy import climb
from attacks.inversion_priors import EigenfacePrior, Eigenfaces
from attacks.jitter import Jitter
from facesec_bench.access import EmbeddingAccess
from facesec_bench.errors import AccessError, ConfigError
from facesec_bench.seeds import generator


class Coarse:
    """Embeds a picture as its 4 x 4 pixels, less their mean over some noise."""

    name, digest = "coarse", "0" * 64

    def embed(self, chips):
        return functional.normalize((functional.adaptive_avg_pool2d(chips, 4) - 0.5).flatten(1), dim=1)


PHOTOS = functional.interpolate(torch.rand(33, 3, 4, 4, generator=generator(0, "photos")), 224)
PUBLIC, PRIVATE = PHOTOS[:30], PHOTOS[30:]
PEOPLE = torch.tensor([2, 0])
SHORT = EigenfaceSearch(Eigenfaces(20, 28), steps=12, proposals=10, starts=2, start_steps=2)


def run(attack: EigenfaceSearch, seed: int = 0, most: int | None = None):
    victim = EmbeddingAccess(Coarse(), "similarity", Coarse().embed(PRIVATE), most)
    chips = attack(PEOPLE, victim, PUBLIC, generator(seed, "attack"))
    asked = victim.meter.queries
    return chips, victim.similarity(chips, PEOPLE), asked


def test_pictures_come_nearer_and_queries_are_those_it_says():
    chips, alike, asked = run(SHORT)
    begin = run(EigenfaceSearch(Eigenfaces(20, 28), steps=0, start_steps=0))
    assert begin[2] == 0 and (alike > begin[1] + 0.3).all()
    assert asked == 2 * SHORT.queries == 2 * 10 * (12 + 2 * 2)
    assert chips.shape == (2, 3, 224, 224) and chips.min() >= 0 and chips.max() <= 1
    with pytest.raises(AccessError, match="budget is 100"):
        run(SHORT, most=100)


def test_it_begins_at_the_mean_face():
    chips = run(EigenfaceSearch(Eigenfaces(20, 28), steps=0, start_steps=0))[0]
    small = functional.avg_pool2d(chips[0], 56)
    assert torch.allclose(small, functional.avg_pool2d(PUBLIC.mean(0), 56), atol=0.02)


def test_proposals_are_spread_as_the_photos_along_each_eigenface_and_never_beyond_its_box():
    prior = EigenfacePrior(PUBLIC, 20, 28, box=0.5)
    search = EigenfaceSearch(Eigenfaces(), proposals=4000, amplitude=0.1)
    proposals = search.propose(prior, torch.zeros(1, 20), generator(0))[0]
    assert torch.allclose(proposals.std(0), torch.tensor(0.1), rtol=0.1)
    wide = EigenfaceSearch(Eigenfaces(), amplitude=3.0).propose(prior, torch.zeros(1, 20), generator(0))
    assert wide.abs().max() == 0.5


def test_the_same_seed_gives_the_same_bits():
    assert torch.equal(run(SHORT)[0], run(SHORT)[0]) and not torch.equal(run(SHORT)[0], run(SHORT, 1)[0])
    with pytest.raises(ConfigError, match="above 0"):
        EigenfaceSearch(Eigenfaces(), starts=0)


class Line:
    """A space of single numbers; a picture of one is alike as it is large."""

    def __init__(self, begin: torch.Tensor) -> None:
        self.begin = begin

    def start(self, rng: torch.Generator) -> torch.Tensor:
        return self.begin.clone()

    def render(self, params: torch.Tensor) -> torch.Tensor:
        return params

    def project(self, params: torch.Tensor) -> torch.Tensor:
        return params


def test_of_the_starts_each_person_goes_on_with_the_most_alike():
    asked = []

    class Listener:
        def similarity(self, pictures, people):
            asked.append((pictures[:, 0], people))
            return pictures[:, 0]

    def propose(params, alike, rng):
        return params[:, None] + torch.randn(len(params), 3, 1, generator=rng)

    begin = torch.tensor([[0.0], [100.0]])
    found = climb(
        begin, PEOPLE, Listener(), Line, propose, generator(0), steps=0, starts=4, start_steps=1, jitter=Jitter()
    )
    values, people = torch.cat([v for v, _ in asked]), torch.cat([p for _, p in asked])
    assert found[:, 0].tolist() == [values[people == person].max() for person in PEOPLE]
    assert len(values) == 2 * 4 * 3
