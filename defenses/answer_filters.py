"""What a service lets out of its logits: rounded, noisy, or the winner alone.

Each is what `access.ClassifierAccess` takes as `answer`: logits (B, K) -> logits (B, K), whose softmax is what a client
sees. A white box has the weights and passes by them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator


@dataclass(frozen=True)
class Rounded:
    """Probabilities to `digits` decimals, then divided by their sum; where all round to 0, every class is as likely.

    A class that rounds to 0 has the logit -inf. A tie goes to the first class, so a label can change too.

    Source: Fredrikson, Jha and Ristenpart, "Model Inversion Attacks that Exploit Confidence Information and Basic
    Countermeasures", CCS 2015, there to multiples of a step.

    Attributes:
        digits: decimals, 0 to 6.

    Raises:
        ConfigError: digits out of range.
    """

    digits: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.digits <= 6:
            raise ConfigError(f"rounded: found {self.digits} digits, wanted 0 to 6.")

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, K) -> (B, K)."""
        found = logits.double().softmax(1).round(decimals=self.digits)
        nothing = (found == 0).all(1, keepdim=True)
        return torch.where(nothing, torch.ones_like(found), found).log().to(logits)


@dataclass(frozen=True)
class Noisy:
    """Normal noise on every logit.

    It follows from `seed` and the logits to one decimal, so who asks the same photo again hears the same answer, and an
    average over repetitions tells nothing new. (The batch around a photo moves its logits by some 1e-5, which changes a
    decimal of forty logits for a photo in some hundreds.)

    Attributes:
        deviation: standard deviation of the noise, in logits.
        seed: of the noise; the service keeps it to itself.

    Raises:
        ConfigError: a negative deviation.
    """

    deviation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.deviation >= 0:
            raise ConfigError(f"noisy: found deviation {self.deviation}, wanted 0 or more.")

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, K) -> (B, K)."""
        keys = (logits.detach().double().cpu() * 10).round().to(torch.int64).tolist()
        rows = [torch.randn(len(key), generator=generator(self.seed, "answer", *key)) for key in keys]
        return logits + self.deviation * torch.stack(rows).to(logits) if rows else logits


@dataclass(frozen=True)
class LabelOnly:
    """The most probable class with certainty; of the others nothing."""

    def __call__(self, logits: Tensor) -> Tensor:
        """(B, K) -> (B, K): 0 at the greatest, -inf elsewhere."""
        return functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits).log()
