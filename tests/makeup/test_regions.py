"""Where makeup lies: soft masks in closed form, checked for shape, symmetry, place and scale."""

import pytest
import torch
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import CHIP_LANDMARKS, CHIP_SIZE
from facesec_bench.makeup import regions
from facesec_bench.makeup.regions import REGIONS, SOFTNESS, bare, face_mask, mask, masks, ramp

SHARES = {
    "skin": (0.15, 0.30),
    "cheeks": (0.015, 0.05),
    "lids": (0.005, 0.02),
    "brows": (0.005, 0.02),
    "lips": (0.008, 0.02),
}


def at(found, x, y):
    """The mask at a landmark, bilinear."""
    place = torch.tensor([[[[2 * (x + 0.5) / CHIP_SIZE - 1, 2 * (y + 0.5) / CHIP_SIZE - 1]]]])
    return float(functional.grid_sample(found, place, align_corners=False))


@pytest.mark.parametrize("region", [*REGIONS, "face"])
@pytest.mark.parametrize("side", [1, 7, 64, 224])
def test_a_mask_is_one_plane_between_0_and_1(region, side):
    found = mask(region, side)
    assert found.shape == (1, 1, side, side)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("region", [*REGIONS, "face"])
def test_a_mask_has_a_core_of_1_and_is_0_far_away(region):
    found = mask(region)
    assert found.max() == 1 and found[..., :10, :].max() == 0 and found[..., :, :30].max() == 0


@pytest.mark.parametrize("region", [*REGIONS, "face"])
def test_left_and_right_agree_about_the_line_between_the_eyes(region):
    # The axis lies on the centre of column 112, so column 112 + k mirrors column 112 - k.
    found = mask(region)[..., 1:]
    assert torch.allclose(found, found.flip(-1), atol=1e-5)


@pytest.mark.parametrize("one", REGIONS)
def test_cores_are_disjoint(one):
    cores = {region: m > 0.9 for region, m in masks().items()}
    for other in set(REGIONS) - {one, "skin"}:
        if one == "skin" and other in ("cheeks", "lids"):
            continue  # blush and eyeshadow are worn on skin
        assert not (cores[one] & cores[other]).any()


@pytest.mark.parametrize("region", REGIONS)
def test_each_region_covers_its_share_of_a_chip(region):
    low, high = SHARES[region]
    assert low < float(mask(region).mean()) < high


def test_the_face_holds_every_region():
    whole = face_mask() > 0.5
    for region in REGIONS:
        core = mask(region) > 0.9
        assert (core & whole).sum() >= 0.95 * core.sum()


def test_the_landmarks_lie_where_they_should():
    left, right, nose, *corners = CHIP_LANDMARKS
    for x, y in (left, right):
        assert at(mask("lids"), x, y) < 0.01 and at(mask("lids"), x, y - 9) > 0.9, "the lid is above the eye"
        assert at(mask("brows"), x, y - 15) > 0.9 and at(mask("skin"), x, y) == 0
        assert at(mask("cheeks"), 112 + 1.35 * (x - 112), y + 27) > 0.9
    assert at(mask("skin"), *nose) == 1
    for x, y in corners:
        inner = 112 + 0.6 * (x - 112)
        assert at(mask("lips"), inner, y + 5) > 0.9 and at(mask("skin"), inner, y + 5) == 0


def test_the_opening_of_the_mouth_wears_less_than_the_lips():
    column = mask("lips")[0, 0, :, 112]
    upper, lower = column[148:155].max(), column[158:170].max()
    gap = column[154:160].min()
    assert upper > 0.9 and lower > 0.9 and gap < 0.4


@pytest.mark.parametrize("region", [*REGIONS, "face"])
def test_a_mask_of_twice_the_side_averages_to_the_mask(region):
    fine = functional.avg_pool2d(mask(region, 2 * CHIP_SIZE), 2)
    assert float((fine - mask(region)).abs().mean()) < 2e-3 and torch.allclose(fine, mask(region), atol=0.12)


@pytest.mark.parametrize("region", REGIONS)
def test_softness_changes_the_edge_and_hardly_the_area(region):
    hard, soft = (mask(region, softness=SOFTNESS[region] * k) for k in (0.5, 1.0))
    between = [((m > 0.02) & (m < 0.98)).sum() for m in (hard, soft)]
    assert between[1] > 1.2 * between[0]
    assert float(soft.mean()) == pytest.approx(float(hard.mean()), rel=0.15)


def test_the_ramp_is_a_half_on_the_edge_and_exact_beyond_it():
    d = torch.linspace(-5, 5, 101, dtype=torch.float64)
    r = ramp(d, 4.0)
    assert float(r[50]) == pytest.approx(0.5) and (r[d <= -2] == 0).all() and (r[d >= 2] == 1).all()
    assert (r.diff() >= 0).all() and torch.allclose(r + r.flip(0), torch.ones_like(r))


def test_a_shape_grows_with_its_argument():
    x, y = regions.grid()
    area = {
        "lids": [ramp(regions.lids(x, y, height=h), 4.0).sum() for h in (7.0, 13.0)],
        "lips": [ramp(regions.lips(x, y, fullness=f), 4.0).sum() for f in (0.8, 1.2)],
        "brows": [ramp(regions.brows(x, y, thickness=t), 4.0).sum() for t in (5.0, 9.0)],
        "cheeks": [ramp(regions.cheeks(x, y, size=s), 4.0).sum() for s in (0.7, 1.2)],
    }
    assert all(large > 1.2 * small for small, large in area.values())
    rows = torch.arange(CHIP_SIZE).view(1, 1, -1, 1)
    low, high = (ramp(regions.cheeks(x, y, down=d), 4.0) for d in (8.0, -8.0))
    assert float((low * rows).sum() / low.sum() - (high * rows).sum() / high.sum()) == pytest.approx(16, abs=0.5)


def test_foundation_stays_off_eyes_brows_and_mouth_only():
    kept = bare()
    assert float((kept < 0.5).float().mean()) < 0.07 and at(kept, *CHIP_LANDMARKS[2]) == 1


@pytest.mark.parametrize("bad", [{"region": "nose"}, {"side": 0}, {"softness": 0.0}, {"softness": -1.0}])
def test_a_mask_that_makes_no_sense_is_refused(bad):
    with pytest.raises(ConfigError, match="wanted"):
        mask(**{"region": "lips", **bad})
