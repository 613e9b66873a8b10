"""Spread spectrum against its closed form."""

import math

import pytest
import torch
from scipy import fft

from conftest import made_up_faces
from facesec_bench.distortions import jpeg
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.spread_spectrum import SpreadSpectrum, cosine_matrix


@pytest.fixture(scope="module")
def watermark():
    return SpreadSpectrum()


@pytest.fixture(scope="module")
def chips():
    return 0.1 + 0.8 * made_up_faces(2, 2).images  # away from 0 and 1, where the closed form holds


@pytest.fixture(scope="module")
def messages():
    return draw(4, 32, generator(0, "messages"))


def test_cosine_matrix_is_the_cosine_transform():
    images = torch.rand(16, 16, generator=generator(0, "image"), dtype=torch.float64)
    matrix = cosine_matrix(16)
    assert torch.allclose(matrix @ images @ matrix.T, torch.from_numpy(fft.dctn(images.numpy(), norm="ortho")))


def test_patterns_are_orthonormal_grey_and_without_mean(watermark):
    patterns = watermark.patterns()
    gram = patterns.flatten(1) @ patterns.flatten(1).T
    assert torch.allclose(gram, torch.eye(32), atol=1e-4)
    assert patterns.mean(dim=(1, 2, 3)).abs().max() < 1e-6
    assert torch.equal(patterns[:, 0], patterns[:, 1]) and torch.equal(patterns[:, 0], patterns[:, 2])


def test_patterns_stay_in_their_band(watermark):
    spectrum = fft.dctn(watermark.patterns()[0, 0].numpy(), norm="ortho")
    index = torch.arange(224)
    radius = (index[:, None] ** 2 + index[None, :] ** 2).sqrt().numpy()
    inside = (radius >= 32) & (radius < 80)
    assert abs(spectrum[~inside]).max() < 1e-6 < 1e-3 < abs(spectrum[inside]).max()


def test_decoding_is_the_inner_product_with_each_pattern(watermark, chips):
    assert torch.allclose(watermark.decode(chips), chips.flatten(1) @ watermark.patterns().flatten(1).T, atol=1e-4)


def test_scores_are_exactly_the_strength_with_the_sign_of_the_bit(watermark, chips, messages):
    scores = watermark.decode(watermark.encode(chips, messages))
    assert torch.allclose(scores, 0.4 * (2 * messages - 1), atol=1e-3)


def test_energy_of_the_residual_is_as_predicted(watermark, chips, messages):
    residual = watermark.encode(chips, messages) - chips
    expected = (0.4 * (2 * messages - 1) - watermark.decode(chips)).square().sum(dim=1)
    assert torch.allclose(residual.square().sum(dim=(1, 2, 3)), expected, rtol=1e-3)


def test_a_picture_without_the_band_costs_what_the_docstring_says(watermark):
    grey = torch.full((1, 3, 224, 224), 0.5)
    residual = watermark.encode(grey, torch.ones(1, 32)) - grey
    assert math.isclose(-10 * residual.square().mean().log10(), 10 * math.log10(150528 / (32 * 0.4**2)), rel_tol=1e-3)


def test_gradient_leaves_out_what_the_embedding_overwrites(watermark, chips, messages):
    leaf = chips[:1].clone().requires_grad_(True)
    direction = torch.randn(leaf.shape, generator=generator(1, "direction"))
    (watermark.encode(leaf, messages[:1]) * direction).sum().backward()
    patterns = watermark.patterns().flatten(1)
    expected = direction.flatten() - (patterns @ direction.flatten()) @ patterns
    assert torch.allclose(leaf.grad.flatten(), expected, atol=1e-4)


def test_one_key_means_one_set_of_patterns_and_another_key_reads_nothing(chips, messages):
    owner, stranger = SpreadSpectrum(), SpreadSpectrum(seed=1)
    marked = owner.encode(chips, messages)
    assert torch.equal(SpreadSpectrum().encode(chips, messages), marked)
    assert owner.digest == SpreadSpectrum().digest != stranger.digest
    assert ((stranger.decode(marked) > 0) == (messages > 0)).float().mean() < 0.75


def test_bits_survive_jpeg_75_and_8_bits(watermark, chips, messages):
    marked = watermark.encode(chips, messages)
    for kept in ((marked * 255).round() / 255, jpeg(marked, 75)):
        assert ((watermark.decode(kept) > 0) == (messages > 0)).all()


@pytest.mark.parametrize(
    "wrong", [{"bits": 0}, {"strength": 0.0}, {"low": 80}, {"low": 0}, {"low": 3, "high": 4, "bits": 32}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match="spread_spectrum: found"):
        SpreadSpectrum(**wrong)


@pytest.mark.photos
@pytest.mark.assets("yunet")
def test_real_photos_keep_40_db_and_every_bit_after_jpeg_75(lfw100, watermark):
    from facesec_bench.data.detection import YuNet
    from facesec_bench.data.folder import Folder

    images = Folder(str(lfw100), YuNet(), max_identities=4, max_per_identity=2)().faces.images
    sent = draw(len(images), 32, generator(2, "messages"))
    marked = (watermark.encode(images, sent) * 255).round() / 255
    assert -10 * (marked - images).square().mean((1, 2, 3)).log10().max() > 40
    assert ((watermark.decode(jpeg(marked, 75)) > 0) == (sent > 0)).float().mean() > 0.99
