"""OnnxTarget and TorchFactoryTarget: a good network agrees with onnxruntime, a bad one is refused by name."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from omegaconf import OmegaConf
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from facesec_bench.errors import ConfigError, MissingPackageError, TargetError
from facesec_bench.targets.frbench import FRBenchTarget
from facesec_bench.targets.onnx import OnnxTarget
from facesec_bench.targets.torch_factory import TorchFactoryTarget

DIMENSION = 8


def graph_file(
    path: Path, reshape: list[int] | None = None, extra: str = "", side: int | str = 32, seed: int = 0
) -> Path:
    """A convolution, a global mean and a Reshape or Flatten, as an embedder would be exported; batch fixed at one."""
    rng = np.random.default_rng(seed)
    weight = numpy_helper.from_array(rng.normal(size=(DIMENSION, 3, 5, 5)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["data", "w"], ["c"], strides=[4, 4])]
    last = "c"
    if extra:
        nodes.append(helper.make_node(extra, [last], ["e"]))
        last = "e"
    nodes += [helper.make_node("Relu", [last], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["g"])]
    weights = [weight]
    if reshape is None:
        nodes.append(helper.make_node("Flatten", ["g"], ["embedding"]))
    else:
        weights.append(numpy_helper.from_array(np.array(reshape, dtype=np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", ["g", "shape"], ["embedding"]))
    image = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, side, side])
    old_style_weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [DIMENSION, 3, 5, 5])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, DIMENSION])
    graph = helper.make_graph(nodes, "embedder", [image, old_style_weight], [out], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def test_an_onnx_target_gives_what_onnxruntime_gives_on_the_same_crops(tmp_path: Path) -> None:
    import onnxruntime

    file = graph_file(tmp_path / "net.onnx")
    target = OnnxTarget(str(file), input_size=32, mean=[100, 110, 120], std=[50, 60, 70], channels="bgr")
    chips = torch.rand(2, 3, 224, 224)
    crops = target.preparation.template(chips).numpy()
    session = onnxruntime.InferenceSession(str(file))
    for row, crop in zip(target.embed(chips), crops, strict=True):
        x = (crop[::-1] * 255 - np.array([100, 110, 120])[:, None, None]) / np.array([50, 60, 70])[:, None, None]
        wanted = session.run(["embedding"], {"data": x[None].astype(np.float32)})[0][0]
        np.testing.assert_allclose(row.numpy(), wanted / np.linalg.norm(wanted), atol=1e-5)


@pytest.mark.parametrize("reshape", [[1, -1], [1, DIMENSION]])
def test_a_final_reshape_that_merges_the_batch_is_mended(tmp_path: Path, reshape: list[int]) -> None:
    target = OnnxTarget(str(graph_file(tmp_path / "net.onnx", reshape)), input_size=32)
    chips = torch.rand(3, 3, 224, 224)
    together = target.embed(chips)
    assert together.shape == (3, DIMENSION)
    assert torch.allclose(together, torch.cat([target.embed(chips[i : i + 1]) for i in range(3)]), atol=1e-6)


def test_a_network_that_merges_its_batch_elsewhere_is_refused_with_the_remedy(tmp_path: Path) -> None:
    class Merges(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(dim=(2, 3)).reshape(1, -1)

    with pytest.raises(TargetError, match="merges its batch"):
        factory_target(Merges)


def test_an_operator_without_gradient_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="Round"):
        OnnxTarget(str(graph_file(tmp_path / "net.onnx", extra="Round")), input_size=32)


def test_an_operator_without_conversion_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="Shrink"):
        OnnxTarget(str(graph_file(tmp_path / "net.onnx", extra="Shrink")), input_size=32)


@pytest.mark.parametrize("content", [None, b"not a graph"])
def test_a_missing_or_foreign_onnx_file_is_refused_in_words(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "net.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TargetError, match=r"net\.onnx"):
        OnnxTarget(str(file))


def test_an_input_size_that_the_graph_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="112"):
        OnnxTarget(str(graph_file(tmp_path / "net.onnx")), input_size=112)


class Small(nn.Module):
    def __init__(self, width: int = DIMENSION) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 5, stride=4)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x)).relu().mean(dim=(2, 3))


def factory_target(build: object, **arguments: object) -> TorchFactoryTarget:
    module = ModuleType("someones_networks")
    module.build = build  # type: ignore[attr-defined]
    sys.modules["someones_networks"] = module
    return TorchFactoryTarget(factory="someones_networks:build", **{"input_size": 32} | arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_factory_target_carries_the_weights_of_the_file(tmp_path: Path, suffix: str) -> None:
    source = Small(4).eval()
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state": source.state_dict()}, file)
    else:
        save_file(source.state_dict(), file)
    key = "state" if suffix == ".pth" else None
    target = factory_target(Small, weights=str(file), state_key=key, arguments={"width": 4})
    chips = torch.rand(2, 3, 224, 224)
    wanted = nn.functional.normalize(source(target.preparation(chips)), dim=1)
    assert torch.allclose(target.embed(chips), wanted, atol=1e-6)
    assert target.card.dimension == 4
    assert not target.network.training


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(Small(), tmp_path / "module.pth")
    with pytest.raises(TargetError, match="weights_only"):
        factory_target(Small, weights=str(tmp_path / "module.pth"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(Small(5).state_dict(), tmp_path / "five.safetensors")
    with pytest.raises(TargetError, match="do not fit"):
        factory_target(Small, weights=str(tmp_path / "five.safetensors"))


def test_a_network_with_a_broken_gradient_is_refused() -> None:
    class Rounds(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).round()

    class Detaches(Small):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.detach())

    with pytest.raises(TargetError, match="gradient to the input is zero"):
        factory_target(Rounds)
    with pytest.raises(TargetError, match="gradient to the input is absent"):
        factory_target(Detaches)


@pytest.mark.parametrize("factory", ["nowhere.at.all:build", "math:no_such", "no_colon"])
def test_a_factory_that_cannot_be_imported_is_refused(factory: str) -> None:
    with pytest.raises(TargetError, match="factory"):
        TorchFactoryTarget(factory=factory)


OTHER_PREPARATION = {
    "input_size": 48,
    "template": "chip",
    "mean": [100, 110, 120],
    "std": 100.0,
    "channels": "bgr",
}


def test_an_onnx_digest_follows_every_argument_but_where_the_file_lies_and_what_it_is_called(tmp_path: Path) -> None:
    file = graph_file(tmp_path / "net.onnx", side="side")
    digests = [OnnxTarget(str(file), input_size=32).digest]
    for key, value in OTHER_PREPARATION.items():
        digests.append(OnnxTarget(str(file), **{"input_size": 32} | {key: value}).digest)
    assert len(set(digests)) == len(digests)
    file.rename(tmp_path / "moved.onnx")
    assert OnnxTarget(str(tmp_path / "moved.onnx"), name="other", input_size=32).digest == digests[0]


def test_an_onnx_digest_follows_weights_that_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    digests = set()
    for folder, seed in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        model = onnx.load(str(graph_file(tmp_path / folder / "inside.onnx", seed=seed)))
        file = tmp_path / folder / "net.onnx"
        onnx.save(model, str(file), save_as_external_data=True, location="net.data", size_threshold=0)
        digests.add(OnnxTarget(str(file), input_size=32).digest)
    assert (tmp_path / "a/net.onnx").read_bytes() == (tmp_path / "b/net.onnx").read_bytes()
    assert len(digests) == 2


def test_a_factory_digest_follows_preparation_arguments_and_weights(tmp_path: Path) -> None:
    for width in (4, 5):
        save_file(Small(width).state_dict(), tmp_path / f"{width}.safetensors")
    four, again = str(tmp_path / "4.safetensors"), str(tmp_path / "again.safetensors")
    Path(again).write_bytes(Path(four).read_bytes())
    settings = {"weights": four, "arguments": {"width": 4}}
    digests = [factory_target(Small, **settings).digest]
    digests += [factory_target(Small, **settings | {key: value}).digest for key, value in OTHER_PREPARATION.items()]
    digests.append(factory_target(Small, weights=str(tmp_path / "5.safetensors"), arguments={"width": 5}).digest)
    assert len(set(digests)) == len(digests)
    assert factory_target(Small, **settings | {"weights": again, "name": "other"}).digest == digests[0]


@pytest.mark.parametrize("module", ["own_a", "own_b"])
def test_a_factory_digest_follows_the_code_that_builds_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    digests = set()
    for scale in (1, 2):
        code = f"from torch import nn\nclass Net(nn.Conv2d):\n    def forward(self, x):\n        return {scale} * "
        code += "super().forward(x).mean(dim=(2, 3))\n\n\ndef build():\n    return Net(3, 8, 5)\n"
        home = f"{module}_home"
        (tmp_path / f"{home}.py").write_text(code)
        (tmp_path / f"{module}.py").write_text(f"from {home} import build\n" if module == "own_b" else code)
        for name in (module, home):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        torch.manual_seed(0)
        digests.add(TorchFactoryTarget(factory=f"{module}:build", input_size=32).digest)
    assert len(digests) == 2


def test_settings_as_the_configuration_library_gives_them_have_the_digest_of_plain_ones(tmp_path: Path) -> None:
    save_file(Small(4).state_dict(), tmp_path / "four.safetensors")
    plain = {"weights": str(tmp_path / "four.safetensors"), "arguments": {"width": 4}, "mean": [1.0, 2.0, 3.0]}
    given = factory_target(Small, **OmegaConf.create(plain))
    assert given.digest == factory_target(Small, **plain).digest
    with pytest.raises(TargetError, match="wanted numbers, words"):
        factory_target(lambda **_: Small(), arguments={"layer": object()})


def test_nonsense_preprocessing_is_refused(tmp_path: Path) -> None:
    file = str(graph_file(tmp_path / "net.onnx"))
    for wrong in ({"channels": "hsv"}, {"template": "mine"}, {"std": 0.0}, {"mean": [1.0, 2.0]}):
        with pytest.raises(ConfigError):
            OnnxTarget(file, input_size=32, **wrong)  # type: ignore[arg-type]


def test_frbench_missing_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "frbench", None)
    monkeypatch.delenv("FACESEC_OFFLINE", raising=False)
    with pytest.raises(MissingPackageError, match=r"facesec-bench\[frbench\]"):
        FRBenchTarget("mobilefacenet_arcface_ms1m")
