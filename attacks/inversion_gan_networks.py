"""Networks of the GANs that are trained for inversion: three critics, and a DCGAN that is told whom to paint."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrizations import spectral_norm

from facesec_bench.errors import ConfigError


def fixed(network: nn.Module, *inputs: Tensor) -> Tensor:
    """What a network gives with its weights held: gradients reach the inputs and no weight."""
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}
    return functional_call(network, weights, inputs)  # type: ignore[no-any-return]


def _stages(resolution: int, width: int) -> list[tuple[int, int, int]]:
    """(channels in, channels out, side after) of convolutions with stride 2, down to a side of 4 or less."""
    found, inputs, side, outputs = [], 3, resolution, width
    while side > 4:
        side = (side + 1) // 2
        found.append((inputs, outputs, side))
        inputs, outputs = outputs, min(2 * outputs, 8 * width)
    if not found or width < 1:
        raise ConfigError(f"critic: found width {width} for pictures of side {resolution}, wanted 1 and 5 or more.")
    return found


def _trunk(resolution: int, width: int) -> tuple[nn.Sequential, int]:
    """Pictures in [-1, 1] to features and their number: convolutions 5 x 5, InstanceNorm but on the first."""
    layers: list[nn.Module] = []
    for i, (inputs, outputs, _) in enumerate(stages := _stages(resolution, width)):
        layers += [nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)]
        layers += [nn.InstanceNorm2d(outputs, affine=True)] if i else []  # it would take away a picture's colour
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten()), stages[-1][1] * stages[-1][2] ** 2


class Critic(nn.Module):
    """GMI's critic: how real a picture looks, without bounds.

    Args:
        resolution: side R of the pictures.
        width: channels of the first of its convolutions, each further one has twice as many; the paper has 64.
    """

    def __init__(self, resolution: int, width: int = 32) -> None:
        super().__init__()
        self.trunk, features = _trunk(resolution, width)
        self.last = nn.Linear(features, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, R, R) in [0, 1] -> (B,)."""
        return self.last(self.trunk(2 * pictures - 1))[:, 0]  # type: ignore[no-any-return]


class MinibatchDiscrimination(nn.Module):
    """How near a picture is to others of its batch: o_b(x_i) = sum_j exp(-|M_ib - M_jb|_1) over j other than i, M = x T
    (Salimans et al., NeurIPS 2016, Section 3.2).

    T begins so small that distances are near 1. The released code of KED-MI draws it from N(0, 1): distances are then
    in the thousands, exp(-distance) is 0 in float32, and so is its gradient.

    Args:
        features: F.
        kernels: how many b there are.
        dimensions: length of a row M_ib.
    """

    def __init__(self, features: int, kernels: int = 64, dimensions: int = 50) -> None:
        super().__init__()
        self.kernels = kernels
        self.T = nn.Parameter(torch.randn(features, kernels * dimensions) / (dimensions * math.sqrt(features)))

    def rows(self, x: Tensor) -> Tensor:
        """(B, F) -> (B, kernels, dimensions), M."""
        return (x @ self.T).view(len(x), self.kernels, -1)

    def forward(self, x: Tensor, company: Tensor | None = None) -> Tensor:
        """(B, F) -> (B, kernels).

        Args:
            company: (C, kernels, dimensions) rows of other pictures, among which each picture is then looked at for
                itself; None for the batch, each picture among the others.
        """
        own = self.rows(x)
        others = own if company is None else company
        near = (-(own[:, None] - others[None]).abs().sum(3)).exp().sum(1)
        return near - 1 if company is None else near


class ClassCritic(nn.Module):
    """KED-MI's critic: a logit for each of the victim's people, fakes being class K + 1 with a logit of 0.

    Args:
        resolution: side R of the pictures.
        classes: K.
        width: as of `Critic`.
    """

    def __init__(self, resolution: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.trunk, features = _trunk(resolution, width)
        self.batch = MinibatchDiscrimination(features)
        self.last = nn.Linear(features + self.batch.kernels, classes)

    def forward(self, pictures: Tensor, company: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, 3, R, R) in [0, 1] -> (B, F) features and (B, K) logits; for `company` see `MinibatchDiscrimination`."""
        x = self.trunk(2 * pictures - 1)
        features = torch.cat([x, self.batch(x, company)], 1)
        return features, self.last(features)

    def company(self, pictures: Tensor) -> Tensor:
        """(C, 3, R, R) -> their rows, for `forward`."""
        return self.batch.rows(self.trunk(2 * pictures - 1))


class ProjectionCritic(nn.Module):
    """PLG-MI's critic: how real a picture looks as one of a class, w . f(x) + v_y . f(x), all under spectral norm
    (Miyato and Koyama, "cGANs with Projection Discriminator", ICLR 2018, Eq. 3).

    The paper's trunk is a residual network for GPUs; this one has plain convolutions.

    Args:
        resolution: side R of the pictures.
        classes: K.
        width: as of `Critic`.
    """

    def __init__(self, resolution: int, classes: int, width: int = 32) -> None:
        super().__init__()
        stages = _stages(resolution, width)
        layers = [[spectral_norm(nn.Conv2d(i, o, 4, stride=2, padding=1)), nn.ReLU()] for i, o, _ in stages]
        self.trunk = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.last = spectral_norm(nn.Linear(stages[-1][1], 1))
        self.people = spectral_norm(nn.Embedding(classes, stages[-1][1]))

    def forward(self, pictures: Tensor, people: Tensor) -> Tensor:
        """(B, 3, R, R) in [0, 1] and (B,) classes -> (B,)."""
        features = self.trunk(2 * pictures - 1).sum((2, 3))
        return self.last(features)[:, 0] + (self.people(people) * features).sum(1)  # type: ignore[no-any-return]


class ConditionalDCGAN(nn.Module):
    """A copy of a DCGAN whose latent and hidden channels have a gain and a bias for each class.

    All gains begin at 1 and biases at 0: it then paints, to the bit, what the DCGAN paints, whatever the class.

    Args:
        base: has `layers`, transposed convolutions with a ReLU between two and a tanh behind the last; they are copied,
            and the given ones keep their bits.
        classes: K.
        reach: gains and biases are `reach` times their parameters, which begin at 0. An optimiser that moves every
            parameter by its learning rate thus moves them faster than the weights, which can paint already.

    Raises:
        ConfigError: `base` has no such layers.
    """

    def __init__(self, base: nn.Module, classes: int, reach: float = 10.0) -> None:
        super().__init__()
        layers = getattr(base, "layers", None)
        if not isinstance(layers, nn.ModuleList) or not all(isinstance(one, nn.ConvTranspose2d) for one in layers):
            raise ConfigError(
                f"Found {type(base).__name__}, wanted a DCGAN: gains and biases are put between its transposed "
                "convolutions."
            )
        self.layers = copy.deepcopy(layers)
        self.classes, self.reach = classes, reach
        channels = [one.in_channels for one in layers if isinstance(one, nn.ConvTranspose2d)]
        self.latent: int = channels[0]
        self.gains = nn.ParameterList(torch.zeros(classes, count) for count in channels)
        self.biases = nn.ParameterList(torch.zeros(classes, count) for count in channels)

    def forward(self, z: Tensor, people: Tensor) -> Tensor:
        """(B, Z) latents and (B,) classes -> (B, 3, R, R) RGB in [0, 1], differentiable."""
        x = self._changed(z[:, :, None, None], 0, people)
        for i, layer in enumerate(self.layers[:-1]):
            x = torch.relu(self._changed(layer(x), i + 1, people))
        painted: Tensor = torch.tanh(self.layers[-1](x))
        return (painted + 1) / 2

    def _changed(self, x: Tensor, place: int, people: Tensor) -> Tensor:
        gain: Tensor = 1 + self.reach * self.gains[place][people]
        bias: Tensor = self.reach * self.biases[place][people]
        return x * gain[:, :, None, None] + bias[:, :, None, None]
