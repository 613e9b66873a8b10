"""RivaGAN as torch modules against the published graphs."""

import onnxruntime
import pytest
import torch

from conftest import made_up_faces
from facesec_bench import assets
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import Folder
from facesec_bench.errors import AssetError
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.rivagan import RivaGAN, initialisers

pytestmark = pytest.mark.assets("rivagan_encoder", "rivagan_decoder")


@pytest.fixture(scope="module")
def chips():
    return made_up_faces(1, 2).images


@pytest.fixture(scope="module")
def messages():
    return draw(2, 32, generator(0, "messages"))


def published(part: str, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(assets.path(f"rivagan_{part}")), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def test_encoder_agrees_with_the_published_graph(chips, messages):
    frames = (chips * 2 - 1)[:, :, None]
    expected = ((published("encoder", frame=frames, data=messages)[:, :, 0] + 1) / 2).clamp(0, 1)
    assert (RivaGAN().encode(chips, messages) - expected).abs().max() < 1e-4


def test_decoder_agrees_with_the_published_graph(chips, messages):
    watermark = RivaGAN()
    marked = watermark.encode(chips, messages)
    expected = published("decoder", frame=(marked * 2 - 1)[:, :, None])
    scores = watermark.decode(marked)
    assert expected.abs().mean() > 1, "scores so small that 1e-4 says nothing"
    assert (scores - expected).abs().max() < 1e-4


def test_several_messages_at_once_give_what_each_gives(chips, messages):
    watermark, others = RivaGAN(), 1 - messages
    together = watermark.encode_each(chips, [messages, others])
    assert torch.equal(together[0], watermark.encode(chips, messages))
    assert torch.equal(together[1], watermark.encode(chips, others)) and not torch.equal(*together)


def test_a_pixel_changes_by_at_most_two_grey_levels(chips, messages):
    change = 255 * (RivaGAN().encode(chips, messages) - chips).abs()
    assert 1 < change.max() <= 255 * 0.008 * (1 + 1e-5)


def test_gradient_of_the_encoder_is_that_of_finite_differences():
    watermark = RivaGAN(gradients="float32").double()
    chips = made_up_faces(1, 1, size=32).images.double() * 0.8 + 0.1
    messages = draw(1, 32, generator(1, "messages")).double()
    weights, direction = torch.randn(2, *chips.shape, generator=generator(2, "directions"), dtype=torch.float64)

    def value(x: torch.Tensor) -> torch.Tensor:
        return (watermark.encode(x, messages) * weights).sum()

    leaf = chips.clone().requires_grad_(True)
    value(leaf).backward()
    step = 1e-5
    slope = (value(chips + step * direction) - value(chips - step * direction)) / (2 * step)
    assert torch.isclose((leaf.grad * direction).sum(), slope, rtol=1e-4)


def test_coarse_gradients_point_the_same_way_and_what_is_judged_is_exact(chips, messages):
    exact, coarse = RivaGAN(gradients="float32"), RivaGAN(gradients="bfloat16")
    assert exact.digest != coarse.digest
    assert torch.equal(exact.encode(chips, messages), coarse.encode(chips, messages))
    weights = torch.randn(chips.shape, generator=generator(2, "directions"))
    found = []
    for watermark in (exact, coarse):
        leaf = chips.clone().requires_grad_(True)
        (watermark.encode(leaf, messages) * weights).sum().backward()
        found.append((leaf.grad - weights).flatten())  # less the part that passes by the network
    assert 0.97 < torch.cosine_similarity(*found, dim=0) < 0.999999


def test_networks_are_frozen():
    watermark = RivaGAN()
    assert not any(parameter.requires_grad for parameter in watermark.parameters())
    assert len(watermark.digest) == 64


def test_another_graph_is_refused_by_name():
    with pytest.raises(AssetError, match=r"yunet\.onnx: .*wanted RivaGAN's"):
        initialisers(assets.path("yunet"))


@pytest.mark.photos
@pytest.mark.assets("yunet")
def test_every_bit_of_real_photos_survives_an_8_bit_file(lfw100):
    images = Folder(str(lfw100), YuNet(), max_identities=3, max_per_identity=1)().faces.images
    watermark, sent = RivaGAN(), draw(len(images), 32, generator(3, "messages"))
    marked = (watermark.encode(images, sent) * 255).round() / 255
    assert ((watermark.decode(marked) > 0) == (sent > 0)).float().mean() >= 0.99
    assert -10 * (marked - images).square().mean((1, 2, 3)).log10().max() > 42
