"""A gallery of any size is embedded in batches, and comes out as if it had been in one."""

import pytest
import torch

from attacks.enrolled import AT_ONCE, enrolled
from attacks.fawkes import Fawkes
from attacks.tip_im import TIPIM
from conftest import made_up_faces
from facesec_bench.goals import Aim
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget


class Counting(ToyTarget):
    """Remembers how many chips it saw at a time."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def embed(self, chips):
        self.batches.append(len(chips))
        return super().embed(chips)


@pytest.fixture(scope="module")
def gallery():
    return made_up_faces(2 * AT_ONCE + 6, 1, size=48)


def test_the_batches_of_a_gallery_are_bounded_and_put_together_in_order(gallery):
    toy = Counting()
    found = enrolled(toy, gallery)
    assert toy.batches == [AT_ONCE, AT_ONCE, 6] and not found.requires_grad
    assert torch.allclose(found, ToyTarget().embed(gallery.images), atol=1e-6)


@pytest.mark.parametrize(
    "attack", [Fawkes(steps=1), TIPIM(steps=1, decoys=1)], ids=lambda attack: type(attack).__name__
)
def test_no_attack_puts_its_whole_gallery_into_one_batch(attack, gallery):
    toy, faces = Counting(), gallery.select([0, 1])
    attack(faces, Aim("dodge", faces.images, faces.identities, gallery), [toy], generator(0))
    assert max(toy.batches) == AT_ONCE
