"""StyleGAN2's files: the key names of the PyTorch port, what is refused and how, and NVIDIA's names."""

import argparse
import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.generators.stylegan2 import RandomStyleGAN2, StyleGAN2
from facesec_bench.generators.stylegan2_network import Layout
from facesec_bench.generators.stylegan2_weights import from_nvidia
from facesec_bench.seeds import generator

# Every name and shape at 8 pixels, style length 6, two mapping layers and 5 channels, as the port's files have them.
PORT = {
    "style.1.weight": (6, 6),
    "style.1.bias": (6,),
    "style.2.weight": (6, 6),
    "style.2.bias": (6,),
    "input.input": (1, 5, 4, 4),
    "conv1.conv.weight": (1, 5, 5, 3, 3),
    "conv1.conv.modulation.weight": (5, 6),
    "conv1.conv.modulation.bias": (5,),
    "conv1.noise.weight": (1,),
    "conv1.activate.bias": (5,),
    "to_rgb1.bias": (1, 3, 1, 1),
    "to_rgb1.conv.weight": (1, 3, 5, 1, 1),
    "to_rgb1.conv.modulation.weight": (5, 6),
    "to_rgb1.conv.modulation.bias": (5,),
    "convs.0.conv.weight": (1, 5, 5, 3, 3),
    "convs.0.conv.blur.kernel": (4, 4),
    "convs.0.conv.modulation.weight": (5, 6),
    "convs.0.conv.modulation.bias": (5,),
    "convs.0.noise.weight": (1,),
    "convs.0.activate.bias": (5,),
    "convs.1.conv.weight": (1, 5, 5, 3, 3),
    "convs.1.conv.modulation.weight": (5, 6),
    "convs.1.conv.modulation.bias": (5,),
    "convs.1.noise.weight": (1,),
    "convs.1.activate.bias": (5,),
    "to_rgbs.0.bias": (1, 3, 1, 1),
    "to_rgbs.0.upsample.kernel": (4, 4),
    "to_rgbs.0.conv.weight": (1, 3, 5, 1, 1),
    "to_rgbs.0.conv.modulation.weight": (5, 6),
    "to_rgbs.0.conv.modulation.bias": (5,),
    "noises.noise_0": (1, 1, 4, 4),
    "noises.noise_1": (1, 1, 8, 8),
    "noises.noise_2": (1, 1, 8, 8),
}


def tiny(resolution=8, **settings):
    return StyleGAN2.random(resolution, style_dim=6, depth=2, widest=5, **settings)


def drawn(network):
    return network.synthesise(network.draw(2, generator(0, "drawn")))


def test_names_and_shapes_are_those_of_the_ports_files():
    assert {name: tuple(t.shape) for name, t in tiny().state_dict().items()} == PORT


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("resolution", [8, 64])
def test_what_is_saved_is_loaded_to_the_bit(tmp_path, suffix, resolution):
    network = tiny(resolution)
    network.save(tmp_path / f"mine.{suffix}")
    again = StyleGAN2(str(tmp_path / f"mine.{suffix}"))
    assert again.name == "stylegan2" and again.layout == network.layout
    assert all(torch.equal(t, again.state_dict()[k]) for k, t in network.state_dict().items())
    assert torch.equal(drawn(again), drawn(network)) and not any(p.requires_grad for p in again.parameters())


def test_widths_and_sizes_are_read_from_the_file(tmp_path):
    network = RandomStyleGAN2(Layout(7, 3, (6, 5, 4)))
    network.save(tmp_path / "wide.pt")
    layout = StyleGAN2(str(tmp_path / "wide.pt")).layout
    assert (layout.style_dim, layout.depth, layout.widths) == (7, 3, (6, 5, 4))


def test_a_training_checkpoint_of_the_port_is_read_and_half_precision_is_raised(tmp_path):
    state = {k: t.half() for k, t in tiny().state_dict().items()}
    file = tmp_path / "550000.pt"
    torch.save({"g": {}, "g_ema": state, "args": argparse.Namespace(size=8), "latent_avg": torch.zeros(6)}, file)
    assert all(p.dtype == torch.float32 for p in StyleGAN2(str(file)).parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("convs.1.noise.weight"), r"miss convs\.1\.noise\.weight"),
        (lambda s: s.pop("input.input"), r"hold no input\.input"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), r"hold the unknown extra\.weight"),
        (
            lambda s: s.update({"to_rgb1.bias": torch.zeros(3)}),
            r"to_rgb1\.bias has shape \(3,\), wanted \(1, 3, 1, 1\)",
        ),
        (lambda s: s.update({"input.input": torch.zeros(5)}), r"input\.input has shape \(5,\), wanted more axes"),
        (lambda s: s.clear(), "found nothing, wanted named tensors"),
    ],
)
def test_a_file_that_does_not_fill_the_network_is_refused_by_the_tensors_name(tmp_path, change, message):
    state = dict(tiny().state_dict())
    change(state)
    torch.save({"g_ema": state}, tmp_path / "mine.pt")
    with pytest.raises(TargetError, match=message):
        StyleGAN2(str(tmp_path / "mine.pt"))


class Spy:
    opened = False

    def __reduce__(self):
        return (setattr, (Spy, "opened", True))


@pytest.mark.parametrize("suffix", ["pt", "pkl"])
def test_a_file_that_holds_code_is_not_run_unasked(tmp_path, suffix):
    file = tmp_path / f"code.{suffix}"
    if suffix == "pt":
        torch.save({"g_ema": Spy()}, file)
    else:
        file.write_bytes(pickle.dumps({"G_ema": Spy()}))
    error, remedy = (TargetError, "weights_only=True") if suffix == "pt" else (ConfigError, "trust_pickle=true and")
    with pytest.raises(error, match=remedy):
        StyleGAN2(str(file))
    with pytest.raises(error):
        StyleGAN2(str(file), trust_pickle=True)
    with pytest.raises(error):
        StyleGAN2(str(file), source=str(tmp_path))
    assert not Spy.opened


def test_missing_and_broken_files_are_refused(tmp_path):
    with pytest.raises(TargetError, match=r"nowhere\.pt: no such file; wanted StyleGAN2 weights"):
        StyleGAN2(str(tmp_path / "nowhere.pt"))
    for name in ("a.pt", "a.safetensors"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(TargetError, match=name):
            StyleGAN2(str(tmp_path / name))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(TargetError, match="found a list"):
        StyleGAN2(str(tmp_path / "list.pt"))


def nvidia(resolution=16):
    """Random weights under NVIDIA's names; all biases and noise strengths differ from 0."""
    rng, state = generator(0, "nvidia"), {}

    def put(name, *shape):
        state[name] = torch.randn(shape, generator=rng)

    for i in range(2):
        put(f"mapping.fc{i}.weight", 6, 6)
        put(f"mapping.fc{i}.bias", 6)
    put("mapping.w_avg", 6)
    put("synthesis.b4.const", 5, 4, 4)
    side = 4
    while side <= resolution:
        for kind in ("conv0", "conv1", "torgb") if side > 4 else ("conv1", "torgb"):
            place, rgb = f"synthesis.b{side}.{kind}", kind == "torgb"
            put(f"{place}.weight", 3 if rgb else 5, 5, 1 if rgb else 3, 1 if rgb else 3)
            put(f"{place}.bias", 3 if rgb else 5)
            put(f"{place}.affine.weight", 5, 6)
            put(f"{place}.affine.bias", 5)
            if not rgb:
                put(f"{place}.noise_strength")
                put(f"{place}.noise_const", side, side)
        put(f"synthesis.b{side}.resample_filter", 4, 4)
        side *= 2
    return state


def nvidia_picture(state, w, noise, resolution=16):
    """The synthesis as NVIDIA's formulas have it: weights per image, unscaled before demodulation. One image."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps)[None, None] / 64 * 4

    def layer(x, place, w, noise=None):
        up, rgb = place.endswith("conv0"), place.endswith("torgb")
        style = w @ state[f"{place}.affine.weight"].T / 6**0.5 + state[f"{place}.affine.bias"]
        weight = state[f"{place}.weight"] * (style / 5**0.5 if rgb else style)[0][None, :, None, None]
        if rgb:
            return functional.conv2d(x, weight) + state[f"{place}.bias"][:, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = functional.conv2d(x, kernel.expand(5, 1, 4, 4), padding=1, groups=5)
        else:
            x = functional.conv2d(x, weight, padding=1)
        x = x + noise * state[f"{place}.noise_strength"] + state[f"{place}.bias"][:, None, None]
        return functional.leaky_relu(x, 0.2) * 2**0.5

    x, colour, row, drawn, side = state["synthesis.b4.const"][None], None, 0, 0, 4
    while side <= resolution:
        for kind in ("conv0", "conv1") if side > 4 else ("conv1",):
            x = layer(x, f"synthesis.b{side}.{kind}", w[row], noise[drawn])
            row, drawn = row + 1, drawn + 1
        fresh = layer(x, f"synthesis.b{side}.torgb", w[row])
        if colour is not None:
            fresh = fresh + functional.conv_transpose2d(
                colour, kernel.expand(3, 1, 4, 4), stride=2, padding=1, groups=3
            )
        colour, side = fresh, side * 2
    return colour


def test_nvidias_names_are_mapped_so_that_the_picture_is_the_same(tmp_path):
    state = nvidia()
    save_file({k: t.contiguous() for k, t in from_nvidia(state).items()}, tmp_path / "mapped.safetensors")
    network = StyleGAN2(str(tmp_path / "mapped.safetensors"))
    latent = {k: t * torch.randn(t.shape[1:], generator=generator(1)) for k, t in network.draw(1, generator(0)).items()}
    w, noise = [latent[f"w{i}"] for i in range(6)], [latent[f"noise{i}"] for i in range(5)]
    assert torch.allclose(network.paint(w, noise), nvidia_picture(state, w, noise), atol=1e-4)
    assert torch.equal(network.noises.noise_3[0, 0], state["synthesis.b16.conv0.noise_const"])
    assert torch.equal(network.style[2].weight, state["mapping.fc1.weight"])


@pytest.mark.parametrize("name", ["mapping.embed.weight", "synthesis.L0_36_512.weight", "synthesis.b8.skip.weight"])
def test_other_networks_of_nvidia_are_refused_by_the_tensors_name(name):
    with pytest.raises(TargetError, match=name):
        from_nvidia(nvidia() | {name: torch.zeros(1)})


def test_a_trusted_pickle_is_opened_with_its_source_tree_and_nothing_of_it_stays(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "torch_utils_of_theirs.py").write_text(
        "import torch\nclass Network(torch.nn.Module):\n    def state_dict(self):\n        return self.kept\n",
        encoding="utf-8",
    )
    sys.path.insert(0, str(source))
    import torch_utils_of_theirs

    network = torch_utils_of_theirs.Network()
    network.kept = nvidia()
    (tmp_path / "ffhq.pkl").write_bytes(pickle.dumps({"G": None, "D": None, "G_ema": network}))
    sys.path.remove(str(source))
    del sys.modules["torch_utils_of_theirs"], torch_utils_of_theirs

    before = list(sys.path)
    loaded = StyleGAN2(str(tmp_path / "ffhq.pkl"), trust_pickle=True, source=str(source))
    assert loaded.resolution == 16
    assert sys.path == before and "torch_utils_of_theirs" not in sys.modules
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"G": 1}))
    with pytest.raises(TargetError, match="no network G_ema"):
        StyleGAN2(str(tmp_path / "other.pkl"), trust_pickle=True, source=str(source))
    (tmp_path / "broken.pkl").write_bytes(b"no pickle")
    with pytest.raises(TargetError, match="cannot be opened with the source tree"):
        StyleGAN2(str(tmp_path / "broken.pkl"), trust_pickle=True, source=str(source))
    assert sys.path == before


def test_a_saved_safetensors_file_is_bare_and_a_torch_file_is_under_g_ema(tmp_path):
    tiny().save(tmp_path / "a.safetensors")
    tiny().save(tmp_path / "a.pt")
    assert set(load_file(tmp_path / "a.safetensors")) == set(PORT)
    assert set(torch.load(tmp_path / "a.pt", weights_only=True)["g_ema"]) == set(PORT)
