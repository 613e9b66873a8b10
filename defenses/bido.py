"""Bilateral dependency: features shall depend on the person and not on the photo (BiDO)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.closed_set_training import Schooling, moving, teach
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces
from facesec_bench.targets.closed_set import ClosedSet


@dataclass(frozen=True)
class BiDo:
    """Teaches with CE + a1 sum_l d(X, Z_l) - a2 sum_l d(Z_l, Y), Z_l being `network.hidden`, d the normalised HSIC.

    Source: Peng et al., "Bilateral Dependency Optimization: Defending Against Model-inversion Attacks", KDD 2022.
    Kernels are Gaussian for X and Z and linear for Y. A recogniser shows its embedding only, unless its trunk
    names `stages`.

    Attributes:
        a1, a2: weights of the two sums.
        sigma: of the Gaussian kernel, see `gaussian`; None takes the median distance in each batch.
        suffix: the new network is called "<name>_<suffix>".

    Raises:
        ConfigError: a negative weight, or a sigma that is not positive.
    """

    a1: float = 0.05
    a2: float = 0.5
    sigma: float | None = 5.0
    suffix: str = "bido"

    def __post_init__(self) -> None:
        if not min(self.a1, self.a2) >= 0 or (self.sigma is not None and not self.sigma > 0):
            raise ConfigError(
                f"bido: found a1 {self.a1}, a2 {self.a2} and sigma {self.sigma}, wanted weights of 0 or more, and a "
                "sigma above 0, or null for the median."
            )

    def __call__(self, network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> ClosedSet:
        """A new, taught network; the given, untaught one keeps its bits.

        Args:
            faces: photos of its people; identities are its classes.
            how: how long and how fast; batches of 16 or more, as dependence is measured within each.
            rng: draws the batches.

        Raises:
            ConfigError: a frozen trunk, of whose features nothing would depend less on the photo.
            DataError, TrainingError: see `closed_set_training.teach`.
        """
        if network.trunk not in moving(network):
            raise ConfigError(
                f"bido: found a frozen trunk in {network.name}, wanted one that trains: its features stay what they "
                "are, and so would every dependence."
            )
        taught = copy.deepcopy(network)
        taught.name = f"{network.name}_{self.suffix}"
        teach(taught, faces, how, rng, objective=self.objective)
        return taught

    def objective(self, network: ClosedSet, chips: Tensor, people: Tensor, done: float) -> Tensor:
        """See `closed_set_training.Objective`."""
        hidden = network.hidden(chips)
        loss = functional.cross_entropy(network.head(hidden[-1]), people)
        photo = spread(gaussian(chips, self.sigma))
        answers = functional.one_hot(people, network.classes).to(chips)
        person = spread(answers @ answers.T)
        for stage in hidden:
            own = spread(gaussian(stage, self.sigma))
            loss = loss + self.a1 * (photo * own).sum() - self.a2 * (own * person).sum()
        return loss


def gaussian(x: Tensor, sigma: float | None) -> Tensor:
    """(B, ...) -> (B, B): exp(-|x_i - x_j|^2 / (2 sigma^2 d)), d being the entries of a row.

    The division by d, and sigma 5, are those of the code of Ma, Lewis and Kleijn, "The HSIC Bottleneck", AAAI 2020.
    Without a sigma, exp(-|x_i - x_j|^2 / (2 m)), m the median of the squared distances between two rows.
    """
    flat = x.flatten(1)
    squares = flat.square().sum(1)
    distances = (squares[:, None] + squares[None] - 2 * flat @ flat.T).clamp_min(0)
    if sigma is not None:
        return (-distances / (2 * sigma**2 * flat.shape[1])).exp()
    pairs = distances.detach()[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    scale = pairs.median().clamp_min(1e-12) if len(pairs) else distances.new_ones(())
    return (-distances / (2 * scale)).exp()


def spread(kernel: Tensor, ridge: float = 1e-5) -> Tensor:
    """(B, B) -> K (K + ridge B I)^-1 of the centred kernel: what a regression on it keeps, symmetric.

    The sum of the entries of two such matrices multiplied is the normalised HSIC (Fukumizu et al., "Kernel Measures of
    Conditional Dependence", NeurIPS 2007): at most the smaller rank, 0 for independence.
    """
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    return torch.linalg.solve(centred + ridge * len(kernel) * eye, centred)
