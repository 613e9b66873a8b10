"""StyleGAN2 with the user's weights, or with random ones that say so.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020. Written from the paper, in plain
torch operations: it runs on CPU and GPU and under `torch.func`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facesec_bench import seeds
from facesec_bench.errors import ConfigError
from facesec_bench.generators import ffhq, stylegan2_weights
from facesec_bench.generators.latents import check_latent
from facesec_bench.generators.stylegan2_network import EqualLinear, Layout, Network
from facesec_bench.interfaces import Latent
from facesec_bench.targets.identity import state_digest

MEAN_DRAWS = 4096
"""Latents whose mean is taken for the mean w."""
NOISE_STRENGTH = 0.1
"""Of random weights: 0, as a training begins, would hide the noise maps."""


class _Cut(torch.autograd.Function):
    """Clamp to [0, 1]; backwards, beyond the range, a gradient passes if its descent leads back."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outwards = ((x < 0) & (gradient > 0)) | ((x > 1) & (gradient < 0))
        return torch.where(outwards, 0.0, gradient)


class _Generator(Network):
    """What both share: latents, pictures, files. An `interfaces.ImageGenerator`.

    Layers: "w0", "w1", ... (B, style_dim), the rows of W+ from coarse to fine, then "noise0", ... (B, 1, s, s).
    """

    name: str
    landmarks: tuple[tuple[float, float], ...]
    digest: str

    def __init__(self, layout: Layout, truncation: float = 1.0) -> None:
        if not 0 <= truncation <= 1:
            raise ConfigError(f"StyleGAN2: found truncation {truncation}, wanted a number from 0 to 1.")
        super().__init__(layout)
        self.resolution, self.truncation = layout.resolution, truncation
        self.landmarks = ffhq.landmarks(layout.resolution)
        self.shapes: dict[str, tuple[int, ...]] = {f"w{i}": (layout.style_dim,) for i in range(layout.rows)}
        self.shapes |= {f"noise{i}": (1, side, side) for i, side in enumerate(layout.noise_sides)}

    @torch.no_grad()
    def draw(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """z ~ N(0, 1) through the mapping network, all rows alike, truncated about the mean w; noise ~ N(0, 1).

        Truncation (CVPR 2019, Appendix B) is mean + truncation * (w - mean).
        """
        w = self.style(self._normal(rng, count, self.layout.style_dim))
        latent = self._latent(w, rng)
        if self.truncation < 1:  # last, so that noise is the same at every truncation
            w = torch.lerp(self.mean_style(rng), w, self.truncation)
            latent |= {f"w{i}": w.clone() for i in range(self.layout.rows)}
        return latent

    @torch.no_grad()
    def mean(self, count: int, rng: torch.Generator) -> dict[str, Tensor]:
        """The mean w in all rows, the same for every image, and drawn noise."""
        return self._latent(self.mean_style(rng).repeat(count, 1), rng)

    @torch.no_grad()
    def mean_style(self, rng: torch.Generator) -> Tensor:
        """(1, style_dim): the mean w over 4096 draws of z."""
        styles: Tensor = self.style(self._normal(rng, MEAN_DRAWS, self.layout.style_dim))
        return styles.mean(dim=0, keepdim=True)

    @torch.no_grad()
    def units(self) -> dict[str, float]:
        """For each row of W+ the standard deviation of w, the mean over coordinates; 1 for noise maps."""
        styles = self.style(self._normal(seeds.generator(0, "stylegan2", "units"), MEAN_DRAWS, self.layout.style_dim))
        spread = float(styles.std(dim=0).mean())
        return {layer: spread if layer.startswith("w") else 1.0 for layer in self.shapes}

    def synthesise(self, latent: Latent) -> Tensor:
        """A latent of every layer -> (B, 3, R, R) RGB in [0, 1], differentiable in the latent and the weights.

        The network's colours (x + 1) / 2 are clamped to [0, 1], but a colour beyond the range keeps a gradient whose
        descent leads back to it: otherwise what is once black could not be tuned to be anything else.

        Raises:
            ValueError: a missing or unknown layer, or a wrong shape.
        """
        check_latent(self.name, latent, self.shapes)
        styles = [latent[layer] for layer in self.shapes if layer.startswith("w")]
        noise = [latent[layer] for layer in self.shapes if layer.startswith("noise")]
        return _Cut.apply((self.paint(styles, noise) + 1) / 2)  # type: ignore[no-any-return]

    def values(self, latent: Latent) -> dict[str, Tensor]:
        """What each layer is: the latent's own rows and noise maps, none is computed from another."""
        check_latent(self.name, latent, self.shapes)
        return dict(latent)

    def save(self, path: str | Path) -> None:
        """Write the weights in the layout of rosinality's port: .safetensors, or a torch file under `g_ema`."""
        stylegan2_weights.write(path, self.state_dict())

    def _latent(self, w: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        return {
            layer: w.clone() if layer.startswith("w") else self._normal(rng, len(w), *shape)
            for layer, shape in self.shapes.items()
        }

    def _normal(self, rng: torch.Generator, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, device=rng.device).to(self.input.input)

    def _finish(self) -> None:
        settings = f"{self.name}/1 {self.truncation} {state_digest(self)}"
        self.digest = hashlib.sha256(settings.encode()).hexdigest()
        self.eval().requires_grad_(False)


class StyleGAN2(_Generator):
    """The generator `stylegan2`: the user's weights; resolution and widths are read from the file.

    Args:
        weights: .safetensors, or a torch file that `weights_only=True` can read, in the layout of rosinality's port,
            bare or under `g_ema`; or NVIDIA's .pkl.
        trust_pickle: whether a .pkl may be opened. A pickle runs the code it holds.
        source: the source tree that a .pkl was saved from; on the import path while it is opened, and only then.
        truncation: share of the way from the mean w at which `draw` stops; 1 does not truncate.

    Raises:
        TargetError: no such file, none that can be read, or a tensor is missing, unknown or of another shape.
        ConfigError: a pickle without consent, or a truncation out of range.
    """

    name = "stylegan2"

    def __init__(
        self, weights: str, trust_pickle: bool = False, source: str | None = None, truncation: float = 1.0
    ) -> None:
        state = stylegan2_weights.read(weights, trust_pickle, source)
        super().__init__(stylegan2_weights.layout_of(state), truncation)
        stylegan2_weights.check_state(state, self.state_dict())
        self.load_state_dict(state)
        self._finish()

    @staticmethod
    def random(
        resolution: int = 32,
        style_dim: int = 64,
        depth: int = 2,
        channel_multiplier: int = 2,
        widest: int = 64,
        seed: int = 0,
        truncation: float = 1.0,
    ) -> RandomStyleGAN2:
        """A small network with random weights, for tests: see `RandomStyleGAN2`."""
        layout = Layout.of_resolution(resolution, style_dim, depth, channel_multiplier, widest)
        return RandomStyleGAN2(layout, seed, truncation)


class RandomStyleGAN2(_Generator):
    """The generator `stylegan2_random`: weights as a training begins, but with noise. It draws no faces."""

    name = "stylegan2_random"

    def __init__(self, layout: Layout, seed: int = 0, truncation: float = 1.0) -> None:
        super().__init__(layout, truncation)
        rates = {id(m.weight): m.rate for m in self.modules() if isinstance(m, EqualLinear)}
        with torch.no_grad():
            for key, parameter in self.named_parameters():
                rng = seeds.generator(seed, "stylegan2_random", key)
                if key.endswith("noise.weight"):
                    nn.init.constant_(parameter, NOISE_STRENGTH)
                elif not key.endswith("bias"):
                    parameter.copy_(torch.randn(parameter.shape, generator=rng) / rates.get(id(parameter), 1.0))
        self._finish()
