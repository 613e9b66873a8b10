"""A shorter message, sent several times over."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Watermark
from facesec_bench.watermarks.messages import check


class Repetition(nn.Module):
    """A watermarker with a payload of `bits`, each repeated over the bits of another: the repetition code.

    Carrier bit i holds payload bit i mod `bits` (interleaved, so that neighbours in the carrier, which may fail
    together, belong to different payload bits), inverted in every second copy: so the carrier is about half ones
    whatever the payload, as it was while a network was trained. A payload bit is read from the signed sum of its
    copies' scores, which weighs each copy by how sure it is. Where the capacity is no multiple, the first bits have one
    copy more.

    It is a torch module that holds the carrier, so that moving it to a device or lending it reaches a carrier that is
    one too.

    Args:
        watermark: the watermarker that carries it; gradients flow if they flow there.
        bits: length of the payload.

    Raises:
        ConfigError: a payload of no bits, or of more than the watermarker carries.
    """

    def __init__(self, watermark: Watermark, bits: int) -> None:
        super().__init__()
        if not 1 <= bits <= watermark.bits:
            raise ConfigError(
                f"repetition: found a payload of {bits} bits, wanted 1 to {watermark.bits}, the capacity of "
                f"{watermark.name}; choose fewer bits or another watermarker."
            )
        self.watermark, self.bits = watermark, bits
        self.name = watermark.name if bits == watermark.bits else f"{watermark.name}_{bits}bit"
        self.differentiable = watermark.differentiable
        self.digest = hashlib.sha256(f"repetition/2 {bits} {watermark.digest}".encode()).hexdigest()

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] and (B, bits) of 0 and 1 -> the marked chips.

        Raises:
            ConfigError: a wrong shape, or a message of anything but 0 and 1.
        """
        check(self.name, self.bits, chips, messages)
        return self.watermark.encode(chips, self._carried(messages))

    @property
    def encode_each(self) -> Callable[[Tensor, Sequence[Tensor]], list[Tensor]]:
        """(B, 3, H, W) and several (B, bits) -> for each what `encode` gives, at once; only where the carrier has it.

        Raises:
            AttributeError: the carrier marks one message at a time.
        """
        at_once: Callable[[Tensor, Sequence[Tensor]], list[Tensor]] = self.watermark.encode_each  # type: ignore[attr-defined]

        def encode_each(chips: Tensor, messages: Sequence[Tensor]) -> list[Tensor]:
            for message in messages:
                check(self.name, self.bits, chips, message)
            return at_once(chips, [self._carried(message) for message in messages])

        return encode_each

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, bits): the signed sum of each bit's copies' scores, positive reads as 1."""
        scores = self.watermark.decode(chips)
        carried, inverted = self._places(scores.device)
        return (scores * (1 - 2 * inverted.to(scores))) @ functional.one_hot(carried, self.bits).to(scores)

    def _carried(self, messages: Tensor) -> Tensor:
        """(B, bits) -> (B, bits of the carrier)."""
        carried, inverted = self._places(messages.device)
        return (messages[:, carried] - inverted.to(messages)).abs()

    def _places(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """For each carrier bit: which payload bit it holds, and 1 where it holds it inverted."""
        index = torch.arange(self.watermark.bits, device=device)
        return index % self.bits, index // self.bits % 2
