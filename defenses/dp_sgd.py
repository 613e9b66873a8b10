"""Differentially private training: what one photo can have changed is bounded by epsilon (DP-SGD, by Opacus)."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from facesec_bench.closed_set_training import Schooling, check_people, moving
from facesec_bench.errors import ConfigError, TargetError
from facesec_bench.interfaces import Faces
from facesec_bench.search import borrowed
from facesec_bench.targets.closed_set import ClosedSet
from facesec_bench.training import fit


@dataclass(frozen=True)
class DpSgd:
    """Every photo's gradient is clipped and noise is added to their sum.

    Photos of a step are a Poisson sample: each takes part with probability batch / photos, by itself, which is what the
    accountants assume. Neighbouring data sets differ in one photo, not in one person: a person with m photos has the
    weaker guarantee of a group of m. What the trunk knew before is not counted, nor is the choice of settings. Noise
    follows from the run's seed, so that a run can be repeated; who publishes the seed publishes the noise.

    Source: Abadi et al., "Deep Learning with Differential Privacy", CCS 2016; accountants of Mironov et al., 2019
    (rdp) and Gopi, Lee and Wutschitz, NeurIPS 2021 (prv).

    Attributes:
        noise_multiplier: standard deviation of the noise in units of `max_grad_norm`; None finds it from `epsilon`.
        epsilon: wanted at the end; give this one or `noise_multiplier`.
        delta: None takes 0.1 / photos.
        max_grad_norm: the greatest Euclidean norm of one photo's gradient.
        accountant: both bound epsilon from above. "prv" does so more tightly, but takes minutes and gigabytes where
            epsilon is in the hundreds.
        suffix: the new network is called "<name>_<suffix>".

    Raises:
        ConfigError: a number out of range, or both or neither of noise_multiplier and epsilon.
    """

    noise_multiplier: float | None = 1.0
    epsilon: float | None = None
    delta: float | None = None
    max_grad_norm: float = 1.0
    accountant: Literal["prv", "rdp"] = "rdp"
    suffix: str = "dpsgd"

    def __post_init__(self) -> None:
        if (self.noise_multiplier is None) == (self.epsilon is None):
            raise ConfigError(
                f"dp_sgd: found noise_multiplier {self.noise_multiplier} and epsilon {self.epsilon}, wanted one of "
                "them, the other null."
            )
        if (self.noise_multiplier or 0) < 0 or not self.max_grad_norm > 0 or not (self.epsilon or 1) > 0:
            raise ConfigError(f"dp_sgd: found {self}, wanted noise of 0 or more, and epsilon and norm above 0.")
        if self.delta is not None and not 0 < self.delta < 1:
            raise ConfigError(f"dp_sgd: found delta {self.delta}, wanted above 0 and below 1, or null.")
        if self.accountant not in ("prv", "rdp"):
            raise ConfigError(f"dp_sgd: found the accountant {self.accountant!r}, wanted 'prv' or 'rdp'.")

    def __call__(self, network: ClosedSet, faces: Faces, how: Schooling, rng: torch.Generator) -> ClosedSet:
        """A new, taught network that carries its `epsilon` and `delta`; the given, untaught one keeps its bits.

        Args:
            faces: photos of its people; identities are its classes.
            how: how long and how fast; `batch` is the mean size of a sample.
            rng: draws samples, mirror images and noise.

        Raises:
            TargetError: weights whose gradient a single photo cannot be given: those of BatchNorm, and those that no
                layer's `forward` uses.
            DataError, TrainingError: see `closed_set_training.teach`.
        """
        check_people(network, faces)
        rate = min(1.0, how.batch / len(faces))
        delta = 0.1 / len(faces) if self.delta is None else self.delta
        noise = self._noise(rate, how.steps, delta)
        student, taught = copy.deepcopy(network), copy.deepcopy(network)
        self._train(student, faces, how, rate, noise, rng)
        taught.load_state_dict(student.state_dict())  # without what Opacus hangs on weights
        taught.name = f"{network.name}_{self.suffix}"
        taught.epsilon, taught.delta = spent(noise, rate, how.steps, delta, self.accountant), delta
        return taught

    def _noise(self, rate: float, steps: int, delta: float) -> float:
        if self.noise_multiplier is not None:
            return self.noise_multiplier
        from opacus.accountants.utils import get_noise_multiplier

        return float(
            get_noise_multiplier(
                target_epsilon=self.epsilon or 0.0,
                target_delta=delta,
                sample_rate=rate,
                steps=steps,
                accountant=self.accountant,
            )
        )

    def _train(
        self, student: ClosedSet, faces: Faces, how: Schooling, rate: float, noise: float, rng: torch.Generator
    ) -> None:
        from opacus import GradSampleModule

        parts, device = moving(student), next(student.parameters()).device
        for part in parts:
            part.requires_grad_(True)  # Opacus passes by what does not train as yet, as loaded weights do not
        try:
            # Its hooks on layers note each photo's gradient whenever a gradient runs back, be it for `fit`'s
            # autograd.grad. The loss is a sum, so they need not undo a mean over a number of photos that varies.
            hooked = GradSampleModule(nn.ModuleList(parts), loss_reduction="sum")
        except NotImplementedError as error:
            raise TargetError(
                f"dp_sgd: found in {student.name} a layer that mixes the photos of a batch ({error}), wanted none, "
                "such as GroupNorm for BatchNorm."
            ) from None

        def batches(step: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
            chosen = torch.rand(len(faces), generator=rng, device=rng.device).cpu() < rate
            rows = chosen.nonzero()[:, 0]
            # An empty sample is a step of noise alone: any photo stands in for it, with weight 0.
            counts = torch.ones(len(rows)) if len(rows) else torch.zeros(1)
            rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
            flip = torch.rand(len(rows), generator=rng, device=rng.device).cpu() < 0.5
            chips = torch.where(flip[:, None, None, None], faces.images[rows].flip(-1), faces.images[rows])
            return chips.to(device), faces.identities[rows].to(device), counts.to(device)

        def loss(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            chips, people, counts = batch
            return functional.cross_entropy(student(chips), people, reduction="none") @ counts

        # A hook waits for the gradient of its layer's input where there is one, and a frozen trunk must ask for none.
        with borrowed(student), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Full backward hook is firing", UserWarning
            )  # of the first layer, rightly
            fit(
                parts,
                batches,
                loss,
                optimiser=lambda parameters: _private(
                    how.optimiser(parameters), noise, self.max_grad_norm, rate * len(faces)
                ),
                schedule=how.schedule,
                steps=how.steps,
                rng=rng,
                every=max(1, how.steps // 10),
            )
        hooked.to_standard_module()


def _private(rule: Optimizer, noise: float, norm: float, batch: float) -> Optimizer:
    """`rule` on clipped and noised gradients, the sum divided by the mean size of a sample."""
    from opacus.optimizers import DPOptimizer

    class Private(DPOptimizer):  # type: ignore[misc]
        def step(self, closure: Any = None) -> Any:
            if any(getattr(p, "grad_sample", None) is None for p in self.params):
                raise TargetError(
                    "dp_sgd: found weights that no layer's forward uses, so that no photo's own gradient is known; "
                    "wanted a trunk of layers, such as sface, or one that is frozen."
                )
            result = super().step(closure)
            self.zero_grad(set_to_none=True)  # `fit` clears nothing: it sets gradients, and knows of no photo's own
            return result

    return Private(rule, noise_multiplier=noise, max_grad_norm=norm, expected_batch_size=batch)  # type: ignore[no-any-return]


def spent(noise_multiplier: float, rate: float, steps: int, delta: float, accountant: str = "rdp") -> float:
    """Epsilon at `delta` after `steps` Gaussian mechanisms on Poisson samples of `rate`; infinite without noise.

    Args:
        accountant: "rdp" or "prv"; see `DpSgd`.
    """
    if noise_multiplier == 0:
        return math.inf
    from opacus.accountants import create_accountant

    account = create_accountant(mechanism=accountant)
    account.history = [(noise_multiplier, rate, steps)]
    return float(account.get_epsilon(delta=delta))
