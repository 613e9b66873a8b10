"""Closed-set recognisers learn their people, and nobody else moves."""

import pytest
import torch
from torch.nn import functional

from facesec_bench.closed_set_training import Schooling, imitate, moving, right, teach, teach_head
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import Faces
from facesec_bench.seeds import generator
from facesec_bench.targets.closed_set import ClosedSet, RecogniserTrunk, SmallTrunk
from facesec_bench.targets.identity import state_digest
from facesec_bench.targets.toy import ToyTarget

COLOURS = torch.tensor([[0.9, 0.2, 0.2], [0.2, 0.9, 0.2], [0.2, 0.2, 0.9]])


def people(per_person: int = 4, seed: int = 0) -> Faces:
    """Three people told apart by their colour, with noise."""
    identities = torch.arange(3).repeat_interleave(per_person)
    noise = 0.1 * torch.randn(len(identities), 3, 224, 224, generator=generator(seed, "faces"))
    images = (COLOURS[identities][:, :, None, None] + noise).clamp(0, 1)
    return Faces(images, identities, tuple(map(str, range(len(identities)))), ("red", "green", "blue"))


def small(seed: int = 0) -> ClosedSet:
    return ClosedSet("small", SmallTrunk(width=4, seed=seed), 3)


def test_a_small_network_learns_three_colours_and_the_same_seed_gives_the_same_bits():
    one, two, other = small(), small(), small()
    how = Schooling(steps=30, batch=6, learning_rate=3e-3)
    curve = teach(one, people(), how, generator(0, "teach"))
    teach(two, people(), how, generator(0, "teach"))
    teach(other, people(), how, generator(1, "teach"))
    assert right(one, people(seed=1)).all() and curve[-1].loss < curve[0].loss
    assert one.digest == two.digest != other.digest
    assert not right(small(seed=5), people(seed=1)).all()


def test_a_frozen_recogniser_keeps_its_bits_and_its_head_learns_either_way():
    how = Schooling(steps=60, batch=12, learning_rate=5e-2)
    for train in (teach, teach_head):
        network = ClosedSet("toy", RecogniserTrunk(ToyTarget()), 3, scale=16.0)
        before = state_digest(network.trunk)
        train(network, people(), how, generator(0, "teach"))
        assert state_digest(network.trunk) == before
        assert right(network, people(seed=1)).float().mean() > 0.9


def test_a_recogniser_that_is_not_frozen_trains_along():
    network = ClosedSet("toy", RecogniserTrunk(ToyTarget(), frozen=False), 3, scale=16.0)
    before = state_digest(network.trunk)
    teach(network, people(), Schooling(steps=2, batch=4), generator(0, "teach"))
    assert state_digest(network.trunk) != before
    assert len(moving(network)) == 2


def test_the_objective_is_told_how_far_the_training_is():
    seen = []

    def objective(network, chips, classes, done):
        seen.append(done)
        return network(chips).square().mean()

    teach(small(), people(), Schooling(steps=4, batch=2), generator(0, "teach"), objective=objective)
    assert seen == [0, 0.25, 0.5, 0.75]


def test_logits_of_the_cosine_head_are_scaled_cosines():
    network = ClosedSet("toy", RecogniserTrunk(ToyTarget()), 3, scale=16.0)
    features = torch.randn(5, network.trunk.features_out)
    found = network.head(features)
    assert found.abs().max() <= 16 + 1e-4
    assert torch.allclose(found, network.head(7 * features), atol=1e-4)


def test_photos_of_other_classes_are_refused():
    faces = people()
    with pytest.raises(DataError, match="0 to 3"):
        teach(ClosedSet("four", SmallTrunk(width=4), 4), faces, Schooling(), generator(0, "teach"))
    with pytest.raises(ConfigError, match="rule"):
        Schooling(rule="newton")
    with pytest.raises(ConfigError, match="two or more"):
        ClosedSet("one", SmallTrunk(width=4), 1)


def test_a_student_answers_as_its_teacher_on_photos_that_it_never_saw():
    teacher = small()
    teach(teacher, people(), Schooling(steps=30, batch=6, learning_rate=3e-3), generator(0, "teach"))
    public, fresh = people(8, seed=2).images, people(4, seed=3).images
    for trunk in (SmallTrunk(width=8, seed=9), RecogniserTrunk(ToyTarget())):
        student = ClosedSet("student", trunk, 3)
        with torch.no_grad():
            before = functional.kl_div(student(fresh).log_softmax(1), teacher(fresh).softmax(1), reduction="batchmean")
            answers = teacher(public).softmax(1)
        how = Schooling(steps=60, batch=8, learning_rate=1e-2)
        imitate(student, public, answers, how, generator(0, "imitate"))
        with torch.no_grad():
            after = functional.kl_div(student(fresh).log_softmax(1), teacher(fresh).softmax(1), reduction="batchmean")
        assert after < 0.5 * before
