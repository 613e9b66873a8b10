"""The latent cloak led by words: a made-up CLIP and, where it is installed, open_clip itself, with random weights."""

import json

import pytest
import torch
from tiny_generator import TinyGenerator, squared
from torch import Tensor, nn
from torch.nn import functional

from attacks.clip2protect import Clip2Protect
from attacks.pivotal_tuning import Pivoting
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.perception.clip import CLIP, ClipGuidance, Encoder
from facesec_bench.seeds import derive, generator
from facesec_bench.targets.toy import ToyTarget

LOSSES = ("directional", "info_nce")


class RandomClip(nn.Module):
    """Small random networks: pictures by convolution, words by their bytes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.eye = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 8, 7, 7), nn.Tanh(), nn.Flatten(), nn.Linear(128, 8))
        self.to_calls: list[object] = []

    def to(self, device):
        self.to_calls.append(device)
        return self

    def image(self, images: Tensor) -> Tensor:
        return functional.normalize(self.eye(images), dim=1)

    def text(self, texts) -> Tensor:
        drawn = [torch.randn(8, generator=generator(derive(0, text), "words")) for text in texts]
        return functional.normalize(torch.stack(drawn), dim=1)


def photos() -> tuple[Faces, Aim]:
    images = functional.interpolate(torch.rand(2, 3, 12, 12, generator=generator(0, "words")), CHIP_SIZE).clamp(0, 1)
    faces = Faces(images, torch.arange(2), ("a", "b"), ("a", "b"))
    return faces, Aim("dodge", images, faces.identities, faces)


def led(encoder: Encoder, loss: str, makeup: float) -> tuple[Tensor, Tensor]:
    """Cloaks made with the words at this weight, and how near they come to the words, seen straight on."""
    faces, aim = photos()
    guidance = ClipGuidance(encoder, "red lipstick", loss=loss, distortion=0.2)
    how = Pivoting(layers=("z",), steps=5, tuning_steps=5)
    settings = {"free": ("f7",), "steps": 25, "step": 0.1, "regulariser": 0.0, "adversarial": 0.1}
    method = Clip2Protect(TinyGenerator(), squared, how, guidance=guidance, makeup=makeup, **settings)
    chips = method(faces, aim, [ToyTarget()], generator(1, "c"))
    judge = ClipGuidance(encoder, "red lipstick", loss=loss, distortion=0).bind(faces.images, generator(2, "c"))
    with torch.no_grad():
        return chips, judge(chips)


@pytest.mark.parametrize("loss", LOSSES)
def test_words_draw_the_cloak_and_the_same_seed_gives_the_same_bits(loss):
    (with_words, near), (_, far) = (led(RandomClip(), loss, weight) for weight in (3.0, 0.0))
    assert (near < far - 0.05).all()
    assert torch.equal(with_words, led(RandomClip(), loss, 3.0)[0])


def test_the_encoder_goes_where_the_photos_are():
    encoder, (faces, _) = RandomClip(), photos()
    ClipGuidance(encoder, "red lipstick").bind(faces.images, generator(0))
    assert encoder.to_calls == [faces.images.device]


def test_the_prompt_can_be_read_for_the_report():
    assert ClipGuidance(RandomClip(), "red lipstick").prompt == "red lipstick"


@pytest.mark.parametrize("loss", LOSSES)
def test_open_clip_with_random_weights_draws_the_cloak(loss, tmp_path, caplog):
    open_clip = pytest.importorskip("open_clip")
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    (tmp_path / "small.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "small.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(open_clip.create_model("small", force_quick_gelu=True).state_dict(), tmp_path / "small.pt")
    caplog.clear()
    encoder = CLIP("small", weights=str(tmp_path / "small.pt"))
    assert not caplog.records  # open_clip says that weights are random, which ours then are not
    (_, near), (_, far) = (led(encoder, loss, weight) for weight in (3.0, 0.0))
    assert (near < far - 0.05).all()
