"""Guidance by words: losses against closed forms, a stand-in for CLIP, and open_clip itself where it is installed."""

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import functional as torchvision

from facesec_bench.errors import AssetError, ConfigError, MissingPackageError
from facesec_bench.perception.clip import CLIP, FLOOR, TEMPLATES, ClipGuidance, directional_loss, info_nce
from facesec_bench.perception.perspective import perspective, random_perspective
from facesec_bench.seeds import generator


def units(*shape, seed=0):
    return functional.normalize(torch.randn(*shape, generator=generator(seed, "units")), dim=-1)


@pytest.mark.parametrize(("angle", "wanted"), [(0, 0.0), (60, 0.5), (90, 1.0), (180, 2.0)])
def test_the_directional_loss_is_one_minus_the_cosine_of_the_two_moves(angle, wanted):
    origin, text_origin = units(1, 4), units(4, seed=1)
    turn = math.radians(angle)
    move = 0.3 * torch.tensor([[math.cos(turn), math.sin(turn), 0, 0]])
    loss = directional_loss(origin + move, origin, text_origin + torch.tensor([0.7, 0, 0, 0]), text_origin)
    assert loss.shape == (1,) and loss.item() == pytest.approx(wanted, abs=1e-5)


def test_an_image_that_has_not_moved_has_a_finite_gradient_towards_the_text():
    origin = units(2, 5)
    image = origin.clone().requires_grad_(True)
    text, text_origin = units(5, seed=1), units(5, seed=2)
    loss = directional_loss(image, origin, text, text_origin)
    assert torch.allclose(loss, torch.ones(2))
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    assert torch.allclose(gradient, -functional.normalize(text - text_origin, dim=0).expand(2, 5) / FLOOR, atol=1e-3)


def test_info_nce_is_the_cross_entropy_of_the_positive_averaged_over_positives():
    query, positives, negatives = 0.3 * units(3, 6), 2 * units(3, 2, 6, seed=1), 0.5 * units(5, 6, seed=2)
    wanted = torch.zeros(3)
    for row in range(3):
        q = functional.normalize(query[row], dim=0)
        for p in positives[row]:
            keys = torch.stack([functional.normalize(k, dim=0) for k in (p, *negatives)])
            wanted[row] += functional.cross_entropy((keys @ q / 0.07)[None], torch.tensor([0])) / 2
    assert torch.allclose(info_nce(query, positives, negatives, 0.07), wanted, atol=1e-5)


def test_info_nce_of_equal_keys_is_the_log_of_their_number():
    key = units(1, 4)
    assert info_nce(units(2, 4, seed=1), key, key.expand(3, 4)).tolist() == pytest.approx([math.log(4)] * 2, rel=1e-5)


def test_info_nce_falls_as_the_query_turns_to_the_positive_and_away_from_the_negatives():
    positive, negative = torch.eye(4)[:1], torch.eye(4)[1:2]
    near, far = info_nce(torch.eye(4)[:2], positive, negative, 0.1)
    assert near.item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3) and far.item() == pytest.approx(10, 1e-3)


SQUARE = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def test_corners_in_their_place_leave_an_image_alone():
    images = torch.rand(2, 3, 12, 10, generator=generator(0))
    assert torch.allclose(perspective(images, SQUARE), images, atol=1e-5)


def test_corners_at_half_the_side_shrink_an_image_to_the_middle_on_black():
    seen = perspective(torch.ones(1, 3, 16, 16), SQUARE / 2)
    assert torch.allclose(seen[..., 4:12, 4:12], torch.ones(1, 3, 8, 8))
    assert torch.allclose(seen.sum(), seen[..., 4:12, 4:12].sum())


def test_perspective_agrees_with_torchvision():
    images = torch.rand(1, 3, 20, 24, generator=generator(0))
    pixels = [[3, 2], [20, 0], [22, 17], [1, 19]]
    corners = torch.tensor(pixels) / torch.tensor([12.0, 10.0]) - 1
    wanted = torchvision.perspective(images, [[0, 0], [24, 0], [24, 20], [0, 20]], pixels)
    seen = perspective(images, corners)
    inner = wanted[..., 3:17, 4:20] > 0  # at the rim, torchvision masks half-covered pixels
    assert torch.allclose(seen[..., 3:17, 4:20][inner], wanted[..., 3:17, 4:20][inner], atol=1e-3)


def test_a_random_perspective_is_drawn_by_its_generator_alike_for_all_images_and_differentiable():
    images = torch.rand(3, 3, 16, 16, generator=generator(0)).requires_grad_(True)
    first, again, other = (random_perspective(images, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=0.05)
    assert torch.equal(random_perspective(images[1:2], generator(1))[0], first[1])
    assert torch.allclose(random_perspective(images, generator(1), 0.0), images, atol=1e-5)
    (gradient,) = torch.autograd.grad(first.sum(), images)
    assert gradient.flatten(1).abs().sum(1).min() > 0


class NoFloat64(TorchDispatchMode):
    """A device without float64, as MPS is one: "meta" stands in for it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, tuple | list) else [result]:
            if isinstance(part, torch.Tensor) and part.dtype == torch.float64:
                assert part.device.type == "cpu", f"{func} made float64 on {part.device}"
        return result


def test_a_perspective_asks_no_float64_of_the_images_device():
    images = torch.rand(2, 3, 8, 8, device="meta")
    with NoFloat64():
        seen = random_perspective(images, generator(0))
        assert perspective(images, SQUARE).shape == seen.shape
    assert seen.device.type == "meta" and seen.dtype == torch.float32


class Words:
    """A stand-in for CLIP: an image is its mean colour beside a constant, a text is red or grey."""

    def __init__(self):
        self.asked = []

    def image(self, images):
        assert images.min() >= 0 and images.max() <= 1
        return functional.normalize(torch.cat([images.mean((2, 3)), torch.ones(len(images), 1)], 1), dim=1)

    def text(self, texts):
        self.asked.append(list(texts))
        named = [(1.0, 0.0, 0.0) if " red " in text else (0.4, 0.4, 0.4) for text in texts]
        return functional.normalize(torch.cat([torch.tensor(named), torch.ones(len(texts), 1)], 1), dim=1)


GREY = torch.full((2, 3, 16, 16), 0.4)


def coloured(red, blue):
    return GREY + torch.tensor([red, 0.0, blue])[None, :, None, None]


@pytest.mark.parametrize("loss", ["directional", "info_nce"])
def test_guidance_draws_images_towards_the_words(loss):
    guide = ClipGuidance(Words(), "red lipstick", loss=loss, distortion=0).bind(GREY, generator(0))
    redder, grey, bluer = guide(coloured(0.2, -0.1)), guide(GREY), guide(coloured(-0.1, 0.2))
    assert redder.shape == (2,) and (redder < grey - 0.1).all() and (grey < bluer - 0.1).all()
    images = GREY.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(guide(images).sum(), images)
    assert gradient.isfinite().all() and (gradient[:, 0] < 0).all() and (gradient[:, 2] > 0).all()


def test_guidance_is_the_loss_of_the_mean_text_directions():
    words = Words()
    image, origin = words.image(coloured(0.2, 0.1)), words.image(GREY)
    text, before = words.text(["with red hair"])[0], words.text(["face"])
    bound = {
        loss: ClipGuidance(words, "red lipstick", loss=loss, distortion=0).bind(GREY, generator(0))(coloured(0.2, 0.1))
        for loss in ("directional", "info_nce")
    }
    assert torch.allclose(bound["directional"], directional_loss(image, origin, text, before[0]), atol=1e-6)
    positives = torch.stack([(text - before[0]).expand(2, 4), text - origin], 1)
    negatives = (before - origin).expand(12, 2, 4).transpose(0, 1)
    assert torch.allclose(bound["info_nce"], info_nce(image - origin, positives, negatives), atol=1e-6)


def test_every_template_is_asked_with_and_without_the_prompt():
    words = Words()
    ClipGuidance(words, "red lipstick", origin_text="person").bind(GREY, generator(0))
    assert words.asked[0][0] == "a photo of a person with red lipstick" and words.asked[1][0] == "a photo of a person"
    assert len(words.asked[0]) == len(words.asked[1]) == len(set(TEMPLATES)) == 12


def test_each_call_sees_another_perspective_and_the_generator_decides_it():
    def losses(seed):
        guide = ClipGuidance(Words(), "red hair").bind(GREY, generator(seed))
        return torch.stack([guide(coloured(0.2, 0)) for _ in range(2)])

    assert torch.equal(losses(0), losses(0)) and not torch.allclose(losses(0)[0], losses(0)[1], atol=1e-4)
    assert not torch.equal(losses(0), losses(1))


def test_an_images_loss_does_not_depend_on_the_others():
    images = torch.rand(2, 3, 16, 16, generator=generator(0))
    both = ClipGuidance(Words(), "red hair").bind(images, generator(3))(images / 2)
    alone = ClipGuidance(Words(), "red hair").bind(images[1:], generator(3))(images[1:] / 2)
    assert torch.allclose(both[1:], alone, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "cosine"},
        {"prompt": " "},
        {"templates": ()},
        {"templates": ("a face",)},
        {"distortion": 1.0},
        {"temperature": 0.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError, match="ClipGuidance"):
        ClipGuidance(**({"clip": Words(), "prompt": "red lipstick"} | wrong))
    with pytest.raises(ValueError, match="bound to 2 images; found 1"):
        ClipGuidance(Words(), "red").bind(GREY, generator(0))(GREY[:1])


class FakeNetwork(nn.Module):
    """Of open_clip's interface what the adapter uses; the picture is averaged to its colour."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.visual = SimpleNamespace(image_size=(8, 8), image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.1, 0.4))

    def encode_image(self, images):
        assert images.shape[-2:] == (8, 8)
        self.seen = images
        return 3 * images.mean((2, 3))

    def encode_text(self, tokens):
        return 5 * tokens.float()


@pytest.fixture
def fake(monkeypatch):
    package = ModuleType("open_clip")
    package.calls = []
    package.get_model_config = lambda name: {
        "ViT-B-32": {"text_cfg": {}},
        "roberta": {"text_cfg": {"hf_tokenizer_name": "roberta-base"}},
    }.get(name)
    package.create_model = lambda name, **kwargs: package.calls.append((name, kwargs)) or FakeNetwork()
    package.get_tokenizer = lambda name: lambda texts: torch.tensor([[len(t), 1, 0] for t in texts])
    package.get_pretrained_cfg = lambda name, tag: {"hf_hub": "somebody/clip/"}

    def load_checkpoint(model, path, strict, weights_only):
        assert strict and weights_only
        model.load_state_dict(torch.load(path, weights_only=True))

    package.load_checkpoint = load_checkpoint
    monkeypatch.setitem(sys.modules, "open_clip", package)
    return package


@pytest.fixture
def weights(tmp_path):
    torch.save({"weight": torch.ones(())}, tmp_path / "clip.pt")
    return str(tmp_path / "clip.pt")


def test_images_are_resized_and_standardised_as_the_model_says_and_come_back_as_unit_vectors(fake, weights):
    clip = CLIP(weights=weights)
    images = torch.full((2, 3, 32, 32), 0.7).requires_grad_(True)
    found = clip.image(images)
    assert torch.allclose(clip.model.seen[0, :, 0, 0], torch.tensor([1.0, 3.0, 1.0]), atol=1e-5)
    assert torch.allclose(found, functional.normalize(torch.tensor([[1.0, 3, 1]]), dim=1).expand(2, 3), atol=1e-5)
    assert torch.autograd.grad(found[:, 0].sum(), images)[0].abs().sum() > 0
    assert torch.allclose(clip.text(["abc"]), functional.normalize(torch.tensor([[3.0, 1, 0]]), dim=1))
    assert float(clip.model.weight) == 1 and not any(p.requires_grad for p in clip.parameters())


def test_no_weights_are_asked_of_the_network_and_the_activation_is_passed_on(fake, weights):
    CLIP(weights=weights)
    CLIP(weights=weights, quick_gelu=False)
    assert [kwargs["force_quick_gelu"] for _, kwargs in fake.calls] == [True, False]
    assert not any(kwargs["load_weights"] or "pretrained" in kwargs for _, kwargs in fake.calls)


def test_an_image_in_another_range_or_shape_is_refused(fake, weights):
    clip = CLIP(weights=weights)
    for wrong in (torch.rand(1, 3, 8, 8) * 2 - 1, torch.rand(1, 3, 8, 8) * 255, torch.full((1, 3, 8, 8), math.nan)):
        with pytest.raises(ValueError, match=r"wants RGB in \[0, 1\]"):
            clip.image(wrong)
    with pytest.raises(ValueError, match="wants images"):
        clip.image(torch.zeros(1, 3, 8, 9))


def test_a_missing_package_is_named_with_the_command(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingPackageError, match="pip install open-clip-torch"):
        CLIP(weights=weights)


@pytest.mark.parametrize("model", ["roberta", "hf-hub:somebody/clip", "ViT-B-16-SigLIP"])
def test_a_model_that_would_fetch_something_is_refused(fake, weights, model):
    with pytest.raises(ConfigError, match="with CLIP's tokenizer"):
        CLIP(model, weights=weights)


def test_weights_come_from_a_file_or_from_a_cache_that_is_there(fake, weights, tmp_path, monkeypatch):
    hub = ModuleType("huggingface_hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    hub.try_to_load_from_cache = lambda repository, name: None
    with pytest.raises(AssetError, match=r"none are downloaded\. Name a file \(weights=PATH\)"):
        CLIP()
    asked = []
    hub.try_to_load_from_cache = lambda *names: asked.append(names) or weights
    assert CLIP().digest == CLIP(weights=weights).digest != CLIP(weights=weights, quick_gelu=False).digest
    assert asked == [("somebody/clip", "open_clip_model.safetensors")]
    with pytest.raises(AssetError, match="no such file"):
        CLIP(weights=str(tmp_path / "nowhere.pt"))
    torch.save({"other": torch.ones(())}, tmp_path / "other.pt")
    with pytest.raises(AssetError, match="not the weights of ViT-B-32"):
        CLIP(weights=str(tmp_path / "other.pt"))


def test_open_clip_itself_is_driven_rightly(tmp_path):
    """A tiny architecture with random weights: only that the adapter and the package agree."""
    open_clip = pytest.importorskip("open_clip")
    from facesec_bench.generators.stylegan2 import StyleGAN2

    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    (tmp_path / "tiny.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path / "tiny.json")
    network = open_clip.create_model("tiny", force_quick_gelu=True)
    torch.save(network.state_dict(), tmp_path / "tiny.pt")
    state, clip = torch.get_rng_state(), CLIP("tiny", weights=str(tmp_path / "tiny.pt"))
    assert torch.equal(state, torch.get_rng_state())
    images = torch.rand(2, 3, 32, 32, generator=generator(0))
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    wanted = network.eval().encode_image(torchvision.normalize(images, mean, std), normalize=True)
    assert torch.allclose(clip.image(images), wanted, atol=1e-5)
    texts = network.encode_text(open_clip.get_tokenizer("tiny")(["a face", "red lipstick"]), normalize=True)
    assert torch.allclose(clip.text(["a face", "red lipstick"]), texts, atol=1e-5)
    generator2 = StyleGAN2.random(32)
    latent = generator2.draw(2, generator(0))
    guide = ClipGuidance(clip, "red lipstick").bind(generator2.synthesise(latent), generator(1))
    w = latent["w6"].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(guide(generator2.synthesise(latent | {"w6": w})).sum(), w)
    assert gradient.isfinite().all() and gradient.abs().amax(1).min() > 0
