"""Marking, reading and the Gaussian control, on a watermark that can be reckoned by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from facesec_bench.errors import ConfigError, FacesecError, TargetError
from facesec_bench.metrics.quality import psnr
from facesec_bench.protocols.bits import DISTORTIONS, gaussian_residual, health, keep_marked
from facesec_bench.records import Record
from facesec_bench.seeds import generator

BITS = 4


class Quarters(nn.Module):
    """Bit i lifts or lowers the i-th vertical quarter of a grey image by `strength`."""

    name, bits, differentiable, digest = "quarters", BITS, True, "0" * 64

    def __init__(self, strength: float = 0.05) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(strength))

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        lift = (2 * messages - 1).repeat_interleave(chips.shape[-1] // BITS, dim=1)
        return chips + self.strength * lift[:, None, None, :]

    def decode(self, chips: Tensor) -> Tensor:
        assert not self.training and not torch.is_grad_enabled()
        return (chips - 0.5).mean((1, 2)).unflatten(1, (BITS, -1)).mean(2)


GREY = torch.full((5, 3, 32, 32), 128 / 255)
MESSAGES = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 1]]).float()


def values(records: list[Record], measure: str) -> list[float]:
    return [r.value for r in records if r.measure == measure]


def check(
    marked: dict[str, Tensor],
    watermark: Quarters | None = None,
    cells: tuple[str, ...] = ("both", "watermarked"),
    after: tuple[str, ...] = tuple(DISTORTIONS),
) -> list[Record]:
    names, reader = [f"k{i}" for i in range(len(MESSAGES))], watermark or Quarters()
    return health(
        *(reader, marked, MESSAGES, names, names),
        method="m",
        victim="v",
        seed=0,
        batch_size=2,
        cells=cells,
        after=after,
    )


def test_marked_images_are_kept_as_8_bit_files() -> None:
    watermark = Quarters(0.0512)
    kept = keep_marked(watermark, GREY, MESSAGES, batch_size=2)
    exact = (GREY + 0.0512 * (2 * MESSAGES - 1).repeat_interleave(8, 1)[:, None, None, :]) * 255
    assert torch.equal(kept * 255, exact.round()) and not torch.equal(exact, exact.round())
    assert watermark.training and watermark.strength.requires_grad  # on loan, and given back


def test_no_image_gives_no_image() -> None:
    assert keep_marked(Quarters(), GREY[:0], MESSAGES[:0]).shape == (0, 3, 32, 32)


class Broken(Quarters):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        spoilt = {"brighter": chips + 1, "darker": chips - 1, "nan": chips * math.nan, "smaller": chips[..., :16]}
        return spoilt[self.how]

    def decode(self, chips: Tensor) -> Tensor:
        found = super().decode(chips)
        return found * math.nan if self.how == "nan" else found[:, :2]


@pytest.mark.parametrize("how", ["brighter", "darker", "nan", "smaller"])
def test_a_watermarker_that_breaks_its_promise_is_not_scored(how: str) -> None:
    with pytest.raises(
        TargetError, match=r"quarters: found marked chips .* wanted \(2, 3, 32, 32\), finite, in \[0, 1"
    ):
        keep_marked(Broken(how), GREY, MESSAGES, batch_size=2)


@pytest.mark.parametrize("how", ["nan", "smaller"])
def test_a_decoder_that_breaks_its_promise_is_not_scored(how: str) -> None:
    with pytest.raises(TargetError, match=r"quarters: found decoded scores .* wanted \(5, 4\), finite"):
        check({"both": GREY, "watermarked": GREY}, Broken(how))


def test_a_robust_mark_is_read_in_both_cells_after_every_distortion() -> None:
    marked = keep_marked(Quarters(), GREY, MESSAGES)
    records = check({"both": marked, "watermarked": marked})
    expected = {
        f"{measure}{cell}{distortion}"
        for measure in ("bit_accuracy", "exact_message")
        for cell in ("", "_watermarked")
        for distortion in ("", "_jpeg90", "_jpeg75", "_resize", "_noise")
    }
    assert {r.measure for r in records} == expected and len(records) == 5 * len(expected)
    assert all(r.value == 1.0 for r in records)


def test_the_two_cells_are_told_apart() -> None:
    marked = keep_marked(Quarters(), GREY, MESSAGES)
    damaged = marked.clone()
    damaged[..., :8] = 1 - marked[..., :8]  # turns the first bit of every message
    records = check({"both": damaged, "watermarked": marked})
    assert values(records, "bit_accuracy") == [0.75] * 5 and values(records, "exact_message") == [0.0] * 5
    assert values(records, "bit_accuracy_watermarked") == [1.0] * 5
    assert values(records, "exact_message_watermarked_jpeg75") == [1.0] * 5


def test_a_missing_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no marked images of the cells \['watermarked'\]"):
        check({"both": GREY})
    with pytest.raises(ConfigError, match=r"distortions \['_crop'\]"):
        check({"both": GREY}, cells=("both",), after=("", "_crop"))


def test_the_records_of_one_cell_and_distortion_are_those_of_the_whole() -> None:
    marked = keep_marked(Quarters(0.01), GREY, MESSAGES)
    whole = check({"both": marked, "watermarked": marked})
    part = check({"watermarked": marked}, cells=("watermarked",), after=("_noise", "_jpeg75"))
    wanted = ("_watermarked_noise", "_watermarked_jpeg75")
    assert sorted(part) == sorted(r for r in whole if r.measure.endswith(wanted))


def test_distorted_images_are_files_again() -> None:
    image = (torch.rand(2, 3, 32, 32, generator=generator(0, "image")) * 255).round() / 255
    found = {suffix: distort(image, 0) for suffix, distort in DISTORTIONS.items()}
    assert torch.equal(found[""], image)
    for suffix, images in found.items():
        assert images.shape == image.shape and torch.equal(images * 255, (images * 255).round()), suffix
        assert suffix == "" or not torch.equal(images, image)
    error = {suffix: (images - image).square().mean().item() for suffix, images in found.items()}
    assert error["_jpeg75"] > error["_jpeg90"]


def test_noise_has_two_grey_levels_and_depends_on_the_seed_only() -> None:
    noisy = DISTORTIONS["_noise"](GREY, 1)
    # Rounding to whole levels adds a twelfth of a level squared.
    assert ((noisy - GREY) * 255).square().mean().item() == pytest.approx(4 + 1 / 12, rel=0.03)
    assert torch.equal(noisy, DISTORTIONS["_noise"](GREY, 1))
    assert not torch.equal(noisy, DISTORTIONS["_noise"](GREY, 2))


@pytest.mark.parametrize("level", [20, 30, 36, 42, 48, 55, 60])
def test_the_gaussian_residual_has_the_psnr_asked_for_once_it_is_kept(level: float) -> None:
    chips = torch.rand(3, 3, 64, 64, generator=generator(0, "chips")).pow(3)  # much of it is near black: noise clamps
    chips = (chips * 255).round() / 255
    chips[1, :, :32] = 1.0
    wanted = torch.tensor([level, level + 1.3, level - 0.7])
    kept = gaussian_residual(chips, wanted, generator(0, "noise"))
    assert torch.equal(kept * 255, (kept * 255).round()) and kept.min() >= 0 and kept.max() <= 1
    assert psnr(kept.numpy(), chips.numpy()) == pytest.approx(wanted.numpy(), abs=0.05)


def test_the_gaussian_residual_is_white_and_drawn_by_the_generator() -> None:
    chips = torch.full((1, 3, 224, 224), 128 / 255)
    noise = gaussian_residual(chips, torch.tensor([40.0]), generator(0, "noise")) - chips
    # Of n white samples, mean and neighbour correlation have a standard error of 1 / sqrt(n) = 0.0026.
    assert abs(noise.mean() / noise.std()) < 0.01
    for along in (1, 2):
        a, b = noise[0].narrow(along, 0, 223), noise[0].narrow(along, 1, 223)
        assert abs((a * b).mean() / noise.var()) < 0.01
    again = gaussian_residual(chips, torch.tensor([40.0]), generator(0, "noise"))
    assert torch.equal(again - chips, noise)
    assert not torch.equal(gaussian_residual(chips, torch.tensor([40.0]), generator(1, "noise")) - chips, noise)


def test_a_mark_that_changed_nothing_has_no_residual_and_shifts_no_other() -> None:
    wanted = torch.tensor([math.nan, 40.0])
    kept = gaussian_residual(GREY[:2], wanted, generator(0, "noise"))
    full = gaussian_residual(GREY[:2], torch.tensor([40.0, 40.0]), generator(0, "noise"))
    assert torch.equal(kept[0], GREY[0]) and torch.equal(kept[1], full[1]) and not torch.equal(full[0], GREY[0])


def test_a_psnr_out_of_reach_is_an_error() -> None:
    with pytest.raises(FacesecError, match="no 8-bit noise of 3 dB"):
        gaussian_residual(GREY[:1], torch.tensor([3.0]), generator(0, "noise"))
    with pytest.raises(FacesecError, match="no 8-bit noise of inf dB"):
        gaussian_residual(GREY[:1], torch.tensor([math.inf]), generator(0, "noise"))
    with pytest.raises(ConfigError, match="one for each of 5 chips"):
        gaussian_residual(GREY, torch.tensor([40.0]), generator(0, "noise"))
