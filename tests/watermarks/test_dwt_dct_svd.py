"""DWT-DCT-SVD against the transform written out in full, step by step, in numpy."""

import numpy as np
import pytest
import torch
from scipy import fft

from conftest import made_up_faces
from facesec_bench.distortions import jpeg
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.watermarks.dwt_dct_svd import DwtDctSvd, from_blocks, to_blocks
from facesec_bench.watermarks.messages import draw


def haar_matrix(side: int) -> np.ndarray:
    """One Haar step as a matrix: first the half sums, then the half differences."""
    rows = np.zeros((side, side))
    for i in range(side // 2):
        rows[i, 2 * i : 2 * i + 2] = 1, 1
        rows[side // 2 + i, 2 * i : 2 * i + 2] = 1, -1
    return rows / np.sqrt(2)


def marked_in_full(chip: np.ndarray, message: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 3) RGB in grey levels -> the marked chip: every band, every transform and every inverse."""
    red, green, blue = chip.transpose(2, 0, 1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    u, v = 0.492 * (blue - luma) + 128, 0.877 * (red - luma) + 128
    haar = haar_matrix(len(u))
    bands = haar @ u @ haar.T
    half = len(u) // 2
    for number, (i, j) in enumerate(np.ndindex(half // 4, half // 4)):
        block = bands[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        left, sizes, right = np.linalg.svd(fft.dctn(block, norm="ortho"))
        sizes[0] = (sizes[0] // scale + 0.25 + 0.5 * message[number % len(message)]) * scale
        block[:] = fft.idctn(left @ np.diag(sizes) @ right, norm="ortho")
    u = haar.T @ bands @ haar - 128
    v = v - 128
    return np.stack([luma + 1.140 * v, luma - 0.395 * u - 0.581 * v, luma + 2.032 * u], axis=-1)


@pytest.fixture(scope="module")
def chips():
    return 0.1 + 0.8 * made_up_faces(1, 2, size=64).images.double()


def test_haar_matrix_is_orthonormal():
    assert np.allclose(haar_matrix(16) @ haar_matrix(16).T, np.eye(16))


def test_marking_is_the_full_transform_with_all_its_inverses(chips):
    messages = draw(2, 8, generator(0, "messages"))
    ours = 255 * DwtDctSvd(bits=8).encode(chips, messages).permute(0, 2, 3, 1).numpy()
    for chip, message, found in zip(chips.permute(0, 2, 3, 1).numpy(), messages.numpy(), ours, strict=True):
        # The published constants of YUV and back are rounded to three digits, so nothing is exact to more.
        assert abs(marked_in_full(255 * chip, message, 36.0) - found).max() < 0.5 < abs(found - 255 * chip).max()


def test_blocks_are_cut_row_by_row_and_put_back():
    bands = torch.arange(2 * 8 * 12.0).view(2, 8, 12)
    blocks = to_blocks(bands)
    assert blocks.shape == (2, 6, 4, 4) and torch.equal(blocks[0, 1], bands[0, :4, 4:8])
    assert torch.equal(from_blocks(blocks, 8, 12), bands)


def test_scores_are_one_in_size_before_rounding(chips):
    watermark, messages = DwtDctSvd(bits=8), draw(2, 8, generator(0, "messages"))
    scores = watermark.decode(watermark.encode(chips, messages))
    assert torch.allclose(scores, (2 * messages - 1).double(), atol=0.02)


def test_bits_survive_8_bits_and_mild_jpeg():
    images = 0.1 + 0.8 * made_up_faces(2, 2).images
    watermark, messages = DwtDctSvd(), draw(4, 32, generator(1, "messages"))
    marked = (watermark.encode(images, messages) * 255).round() / 255
    for kept in (marked, jpeg(marked, 90)):
        assert ((watermark.decode(kept) > 0) == (messages > 0)).all()


def test_a_margin_that_fills_no_square_is_left_alone():
    chips = 0.1 + 0.8 * made_up_faces(1, 1).images[:, :, :67, :60]
    watermark, messages = DwtDctSvd(bits=8), draw(1, 8, generator(2, "messages"))
    marked = watermark.encode(chips, messages)
    assert torch.equal(marked[..., 64:, :], chips[..., 64:, :]) and torch.equal(marked[..., 56:], chips[..., 56:])
    assert ((watermark.decode(marked) > 0) == (messages > 0)).all()


def test_luma_stays_and_no_gradient_is_kept(chips):
    leaf = chips.clone().requires_grad_(True)
    marked = DwtDctSvd(bits=8).encode(leaf, torch.ones(2, 8))
    luma = torch.tensor([0.299, 0.587, 0.114]).double() @ (marked - chips).flatten(2)
    assert luma.abs().max() * 255 < 0.05 and not marked.requires_grad


def test_too_many_bits_for_the_chip_are_refused():
    with pytest.raises(ConfigError, match="wanted at least 32 squares of 8x8"):
        DwtDctSvd().encode(torch.zeros(1, 3, 32, 32), torch.zeros(1, 32))


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"scale": 0}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="dwt_dct_svd: found"):
        DwtDctSvd(**wrong)


@pytest.mark.photos
@pytest.mark.assets("yunet")
def test_every_bit_of_real_photos_survives_an_8_bit_file(lfw100):
    from facesec_bench.data.detection import YuNet
    from facesec_bench.data.folder import Folder

    images = Folder(str(lfw100), YuNet(), max_identities=4, max_per_identity=2)().faces.images
    watermark, sent = DwtDctSvd(), draw(len(images), 32, generator(3, "messages"))
    marked = (watermark.encode(images, sent) * 255).round() / 255
    assert ((watermark.decode(marked) > 0) == (sent > 0)).all()
    assert -10 * (marked - images).square().mean((1, 2, 3)).log10().max() > 40
