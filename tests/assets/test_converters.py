"""The conversions: formulas against an independent computation, and no pickle that can run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facesec_bench import assets
from facesec_bench.asset_converters import convert, pickled_arrays
from facesec_bench.asset_converters.dlib_dat import _integer
from facesec_bench.asset_converters.onnx_weights import _dequantise
from facesec_bench.asset_converters.torch_files import _arrays, _fold
from facesec_bench.errors import AssetError


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


@pytest.mark.parametrize("converter", ["lpips_alex/1", "effnet_arcface/3", "dcgan/1"])
def test_a_malicious_pickle_is_refused_and_never_run(tmp_path: Path, converter: str) -> None:
    witness = tmp_path / "it ran"
    file = tmp_path / "weights"
    if converter.startswith("lpips"):
        file.write_bytes(pickle.dumps({"AlexNet_0": Malicious(witness)}))
    else:
        torch.save({"netG_state_dict": Malicious(witness)}, file)
    with pytest.raises(AssetError):
        convert(converter, file)
    assert not witness.exists()


def test_the_unpickler_reads_numpy_arrays(tmp_path: Path) -> None:
    # Protocol 3 and the old module path are how the published files were written.
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = pickle.dumps({"kernel": array}, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "weights").write_bytes(data)
    assert np.array_equal(pickled_arrays.read(tmp_path / "weights")["kernel"], array)


def test_block_dequantisation_follows_the_onnx_definition() -> None:
    values = np.array([[10.0, 12, 14, 16], [1, 2, 3, 4]])
    scale, zero = np.array([[0.5, 2.0], [1.0, 10.0]]), np.array([[10.0, 14.0], [0.0, 3.0]])
    wanted = [[0.0, 1.0, 0.0, 4.0], [1.0, 2.0, 0.0, 10.0]]
    assert _dequantise(values, scale, zero, axis=1, block=2).tolist() == wanted


def test_a_last_block_that_is_not_full_is_dequantised() -> None:
    got = _dequantise(np.ones((1, 3)), np.array([[2.0, 5.0]]), np.zeros((1, 2)), axis=1, block=2)
    assert got.tolist() == [[2.0, 2.0, 5.0]]


@pytest.mark.parametrize("axis", [0, 1])
def test_folding_batchnorm_changes_nothing(axis: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, 3, bias=False) if axis == 0 else nn.ConvTranspose2d(3, 5, 3, bias=False)
    norm = nn.BatchNorm2d(5)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias), nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.1, 2.0)
    x = torch.randn(2, 3, 8, 8)
    wanted = norm.eval()(layer(x))
    weight, bias = _fold(
        layer.weight.detach().double().numpy(), _arrays(nn.ModuleDict({"n": norm}).state_dict()), "n", axis
    )
    layer.weight = nn.Parameter(torch.from_numpy(weight).float())
    got = layer(x) + torch.from_numpy(bias).float()[:, None, None]
    assert torch.allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(("data", "wanted"), [(b"\x01\x05", 5), (b"\x02\x00\x01", 256), (b"\x81\x07", -7)])
def test_dlibs_integers_are_read(data: bytes, wanted: int) -> None:
    assert _integer(data, 0) == (wanted, len(data))


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.assets(name))
        for name in ("sface", "dlib_resnet", "mobilefacenet", "dcgan", "lpips_alex")
    ],
)
def test_converting_twice_gives_the_same_bytes_also_in_a_run(name: str, flushed: bool, tmp_path: Path) -> None:
    import torch
    from safetensors.numpy import save_file

    torch.set_flush_denormal(flushed)  # as runs do
    save_file(
        convert(assets.MANIFEST[name].converter, assets.member(name)),
        tmp_path / "again",
        metadata={"source": assets.MANIFEST[name].archive.pin},
    )
    assert (tmp_path / "again").read_bytes() == assets.path(name).read_bytes()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        pytest.param("sface", "mobilefacenet", marks=pytest.mark.assets("mobilefacenet")),
        pytest.param("mobilefacenet", "yunet", marks=pytest.mark.assets("yunet")),
    ],
)
def test_a_file_of_another_network_is_refused(name: str, other: str) -> None:
    with pytest.raises(AssetError):
        convert(assets.MANIFEST[name].converter, assets.member(other))
