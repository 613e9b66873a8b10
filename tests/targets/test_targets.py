"""The four asset targets against onnxruntime, an independent computation, synthetic faces and real photos."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from facesec_bench import assets
from facesec_bench.errors import TargetError
from facesec_bench.interfaces import CHIP_SIZE, FRTarget
from facesec_bench.targets.dlib_resnet import DlibResNet, Residual
from facesec_bench.targets.effnet_arcface import EffNetArcFace
from facesec_bench.targets.mobilefacenet import MobileFaceNet
from facesec_bench.targets.sface import SFace

TARGETS = {"sface": SFace, "dlib_resnet": DlibResNet, "mobilefacenet": MobileFaceNet, "effnet_arcface": EffNetArcFace}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.assets(name)) for name in TARGETS])
def target(request: pytest.FixtureRequest) -> FRTarget:
    return TARGETS[request.param]()


@pytest.fixture(scope="module")
def synthetic() -> tuple[Tensor, Tensor]:
    """Eight DCGAN faces and another photo of each, as chips. The generator centres its faces, so a resize aligns."""
    from facesec_bench.generators.dcgan import DCGAN

    rng = torch.Generator().manual_seed(5)
    z = torch.randn(8, 100, generator=rng)
    near = z + 0.1 * torch.randn(8, 100, generator=rng)
    faces = DCGAN().generate(torch.cat([z, near]))
    chips = nn.functional.interpolate(faces, size=(CHIP_SIZE, CHIP_SIZE), mode="bilinear").clamp(0, 1)
    return chips[:8], chips[8:]


def onnx_session(name: str, image_input: str) -> object:
    import onnx
    import onnxruntime

    model = onnx.load(str(assets.member(name)))
    kept = [value for value in model.graph.input if value.name == image_input]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


@pytest.mark.parametrize(
    ("name", "image_input"),
    [
        pytest.param("sface", "data", marks=pytest.mark.assets("sface")),
        pytest.param("mobilefacenet", "input", marks=pytest.mark.assets("mobilefacenet")),
    ],
)
def test_embeddings_equal_those_of_onnxruntime(name: str, image_input: str) -> None:
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    # SFace's graph normalises inside, MobileFaceNet's wants it done.
    x = crops * 255 if name == "sface" else (crops * 255 - 127.5) / 127.5
    session = onnx_session(name, image_input)
    wanted = [session.run(None, {image_input: x[i : i + 1].numpy()})[0].reshape(-1) for i in range(2)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(TARGETS[name]().features(crops).numpy(), np.stack(wanted), atol=1e-4)


def numpy_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """(C, H, W) by the definition: a sum over the window at every position."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    side = (x.shape[1] - 3) // stride + 1
    out = np.empty((len(weight), side, side))
    for i in range(side):
        for j in range(side):
            window = x[:, i * stride : i * stride + 3, j * stride : j * stride + 3]
            out[:, i, j] = (weight * window[None]).sum(axis=(1, 2, 3)) + bias
    return out


@pytest.mark.parametrize("side", [9, 8])
def test_a_down_block_equals_its_definition_in_numpy(side: int) -> None:
    torch.manual_seed(0)
    block = Residual(2, 3, down=True)
    x = torch.randn(1, 2, side, side)
    first, second = (
        {k: v.detach().double().numpy() for k, v in c.named_parameters()} for c in (block.first, block.second)
    )
    y = np.maximum(numpy_conv(x[0].double().numpy(), first["weight"], first["bias"], 2, 0), 0)
    y = numpy_conv(y, second["weight"], second["bias"], 1, 1)
    half = side // 2
    pooled = x[0].double().numpy()[:, : 2 * half, : 2 * half].reshape(2, half, 2, half, 2).mean(axis=(2, 4))
    wanted = np.zeros((3, max(half, y.shape[1]), max(half, y.shape[2])))
    wanted[:, : y.shape[1], : y.shape[2]] += y
    wanted[:2, :half, :half] += pooled
    np.testing.assert_allclose(block(x)[0].detach().numpy(), np.maximum(wanted, 0), atol=1e-5)


def test_embeddings_are_unit_vectors_that_no_other_image_in_the_batch_changes(target: FRTarget) -> None:
    chips = torch.rand(3, 3, CHIP_SIZE, CHIP_SIZE, generator=torch.Generator().manual_seed(1))
    together = target.embed(chips)
    assert together.shape == (3, target.card.dimension)
    assert torch.allclose(together.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(together[1:2], target.embed(chips[1:2]), atol=1e-5)


@pytest.mark.assets("dcgan")
def test_the_gradient_says_how_the_similarity_changes(target: FRTarget, synthetic: tuple[Tensor, Tensor]) -> None:
    """A central difference along the gradient equals its norm."""
    chip, other = synthetic[0][:1].clone(), target.embed(synthetic[0][1:2])
    chip = (0.1 + 0.8 * chip).requires_grad_(True)
    (gradient,) = torch.autograd.grad((target.embed(chip) * other).sum(), chip)
    step = 0.02 * gradient / gradient.norm()
    with torch.no_grad():
        ahead, behind = (float((target.embed(chip + sign * step) * other).sum()) for sign in (1, -1))
    assert (ahead - behind) / 0.04 == pytest.approx(float(gradient.norm()), rel=0.1)


# Measured means of (same latent jittered by 0.1, different latents) on these eight pairs.
# The faces are 64 px and not aligned: the figures guard the networks and say nothing of their worth.
RECORDED = {
    "sface": (0.941, 0.290),
    "dlib_resnet": (0.991, 0.900),
    "mobilefacenet": (0.938, 0.189),
    "effnet_arcface": (0.908, 0.126),
}


@pytest.mark.assets("dcgan")
def test_similarity_on_synthetic_pairs_is_the_recorded_one(target: FRTarget, synthetic: tuple[Tensor, Tensor]) -> None:
    first, second = (target.embed(chips) for chips in synthetic)
    similarity = first @ second.T
    same = float(similarity.diagonal().mean())
    different = float((similarity.sum() - similarity.diagonal().sum()) / 56)
    assert (same, different) == pytest.approx(RECORDED[target.name], abs=0.01)


def test_a_target_comes_frozen_in_evaluation_mode_and_bears_its_files_digest(target: FRTarget) -> None:
    assert isinstance(target, nn.Module) and isinstance(target, FRTarget)
    assert not target.training
    assert not any(parameter.requires_grad for parameter in target.parameters())
    assert target.digest == assets.digest(target.name)


def test_images_on_the_0_to_255_scale_are_refused(target: FRTarget) -> None:
    with pytest.raises(TargetError, match=r"\[0, 1\]"):
        target.embed(torch.full((1, 3, CHIP_SIZE, CHIP_SIZE), 200.0))


@pytest.mark.assets("sface", "dcgan")
def test_weights_of_another_target_are_refused() -> None:
    with pytest.raises(TargetError, match="do not fit"):
        SFace(weights=str(assets.path("dcgan")))


@pytest.mark.assets("dlib_resnet")
def test_a_users_copy_of_the_weights_gives_the_same_target(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(load_file(assets.path("dlib_resnet")), tmp_path / "mine.safetensors")
    chips = torch.rand(1, 3, CHIP_SIZE, CHIP_SIZE)
    assert torch.equal(DlibResNet(str(tmp_path / "mine.safetensors")).embed(chips), DlibResNet().embed(chips))


def photos() -> Path:
    return Path(os.environ.get("FACESEC_PHOTOS", Path(__file__).parents[3] / "shared" / "data")) / "lfw100"


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, Tensor]:
    """Chips (100, 3, 224, 224) and identities of lfw100, as the loader gives them."""
    from facesec_bench.data.detection import YuNet
    from facesec_bench.data.folder import Folder

    if not photos().is_dir():
        pytest.skip(f"{photos()} is not there; name a folder with lfw100 in FACESEC_PHOTOS")
    faces = Folder(str(photos()), YuNet())().faces
    return faces.images, faces.identities


# Measured: 1.0000, 0.9995, 0.9999 and 0.9210.
LEAST_AUC = {"sface": 0.999, "dlib_resnet": 0.999, "mobilefacenet": 0.999, "effnet_arcface": 0.92}


@pytest.mark.assets("yunet")
@pytest.mark.photos
@pytest.mark.slow
def test_real_people_are_told_apart(target: FRTarget, real: tuple[Tensor, Tensor]) -> None:
    from sklearn.metrics import roc_auc_score

    chips, identities = real
    embeddings = torch.cat([target.embed(batch) for batch in chips.split(20)])
    i, j = torch.triu_indices(len(chips), len(chips), 1)
    auc = roc_auc_score(identities[i] == identities[j], (embeddings[i] * embeddings[j]).sum(dim=1))
    assert auc >= LEAST_AUC[target.name]
