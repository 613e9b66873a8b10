"""Search by eigenfaces: it comes nearer, with what it says it asks, and stays among the eigenfaces."""

import pytest
import torch
from torch.nn import functional

from attacks.eigenface_search import EigenfaceSearch
from attacks.inversion_priors import EigenfacePrior, Eigenfaces
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
