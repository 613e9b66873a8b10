"""BiDO's dependence: against a double sum, against its ranks, and in what a network learns."""

import math

import pytest
import torch
from three_colours import colours, small
from torch.nn import functional

from defenses.bido import BiDo, gaussian, spread
from facesec_bench.closed_set_training import Schooling, cross_entropy, right
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk
from facesec_bench.targets.toy import ToyTarget

RNG = generator(0, "bido")
X, Z = torch.randn(9, 4, generator=RNG).double(), torch.randn(9, 3, generator=RNG).double()


def double_sum(k: torch.Tensor, l: torch.Tensor) -> float:  # noqa: E741
    """tr(KHLH), written as the three expectations of Gretton et al. (ALT 2005), Lemma 1."""
    n, both, cross, one, two = len(k), 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        for j in range(n):
            both += float(k[i, j] * l[i, j])
            one, two = one + float(k[i, j]), two + float(l[i, j])
        cross += float(k[i].sum() * l[i].sum())
    return both - 2 * cross / n + one * two / n**2


def test_with_a_great_ridge_the_normalised_form_is_the_double_sum():
    k, l, ridge = gaussian(X, 1.0), gaussian(Z, 1.0), 1e7  # noqa: E741
    found = (spread(k, ridge) * spread(l, ridge)).sum() * (9 * ridge) ** 2
    assert math.isclose(float(found), double_sum(k, l), rel_tol=1e-5)


def test_with_a_small_ridge_it_counts_dimensions():
    people = functional.one_hot(torch.arange(9) % 3, 3).double()
    photos, persons = spread(gaussian(X, 0.5), 1e-9), spread(people @ people.T, 1e-9)
    assert math.isclose(float((photos * photos).sum()), 8, rel_tol=1e-4), "nine photos less their mean"
    assert math.isclose(float((persons * persons).sum()), 2, rel_tol=1e-4), "three people less their mean"
    assert math.isclose(float((photos * persons).sum()), 2, rel_tol=1e-4), "who knows the photo knows the person"
    assert abs(float((spread(torch.ones(9, 9)) * persons).sum())) < 1e-6, "a constant tells nothing"


def test_the_kernel_is_that_of_every_pair_and_the_median_makes_it_free_of_scale():
    for sigma, width in ((5.0, 2 * 25 * 4), (0.5, 2 * 0.25 * 4)):
        wanted = [[math.exp(-float((a - b).square().sum()) / width) for b in X] for a in X]
        assert torch.allclose(gaussian(X, sigma), torch.tensor(wanted).double())
    assert torch.allclose(gaussian(X, None), gaussian(100 * X, None))
    pairs = [float((X[i] - X[j]).square().sum()) for i in range(9) for j in range(9) if i != j]
    half = sorted(pairs)[(len(pairs) - 1) // 2]
    assert torch.isclose(gaussian(X, None)[0, 1], (-(X[0] - X[1]).square().sum() / (2 * half)).exp())


def parts(network, faces, **weights) -> float:
    with torch.no_grad():
        return float(BiDo(**weights).objective(network, faces.images, faces.identities, 0.0))


def test_the_objective_is_the_cross_entropy_plus_photos_minus_people():
    network, faces = small(), colours()
    with torch.no_grad():
        plain = float(cross_entropy(network, faces.images, faces.identities, 0.0))
        photo = spread(gaussian(faces.images, 5.0))
        answers = functional.one_hot(faces.identities, 3).float()
        owns = [spread(gaussian(stage, 5.0)) for stage in network.hidden(faces.images)]
        first = sum(float((photo * own).sum()) for own in owns)
        second = sum(float((own * spread(answers @ answers.T)).sum()) for own in owns)
    assert math.isclose(parts(network, faces, a1=0, a2=0), plain, rel_tol=1e-6)
    assert math.isclose(parts(network, faces, a1=2, a2=0), plain + 2 * first, rel_tol=1e-4)
    assert math.isclose(parts(network, faces, a1=0, a2=3), plain - 3 * second, rel_tol=1e-4)


def dependence(network, faces) -> float:
    with torch.no_grad():
        photo, own = (spread(gaussian(x, 5.0)) for x in (faces.images, network.features(faces.images)))
    return float((photo * own).sum())


def test_the_first_weight_makes_features_depend_less_on_the_photo():
    how, faces, network = Schooling(steps=40, batch=8, learning_rate=3e-3), colours(), small()
    before = network.digest
    plain, hard = (BiDo(a1=a1, a2=0)(network, faces, how, generator(0, "bido")) for a1 in (0.0, 0.1))
    assert dependence(hard, faces) < 0.8 * dependence(plain, faces)
    assert right(hard, colours(seed=1)).all() and network.digest == before and hard.name == "small_bido"


def test_settings_out_of_range_are_refused():
    for wrong in ({"a1": -1.0}, {"a2": -1.0}, {"sigma": 0.0}):
        with pytest.raises(ConfigError, match="wanted"):
            BiDo(**wrong)


def test_a_frozen_recogniser_is_refused_as_no_feature_of_it_would_change():
    frozen = ClosedSet("frozen", RecogniserTrunk(ToyTarget()), 3, scale=16.0)
    with pytest.raises(ConfigError, match="frozen trunk in frozen"):
        BiDo()(frozen, colours(4, 0), Schooling(steps=1, batch=4), generator(0))
