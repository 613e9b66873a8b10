"""Hidden: an encoder and a decoder trained together (Zhu et al., "HiDDeN: Hiding Data With Deep Networks", ECCV 2018).

The training is that of its later, simpler form (Fernandez et al., "The Stable Signature", ICCV 2023): no discriminator
and no image loss, as the residual is bounded by construction. Two departures from the paper make it cheap on aligned
faces: the message enters and leaves through a dense layer over a grid of places (as in Tancik et al., "StegaStamp",
CVPR 2020) where the paper copies it to every pixel, and both networks work at a quarter of the resolution. The price:
bits belong to places and to the phase of a fine pattern. A shift of the chip by two pixels (tried on the packaged
weights) inverts most bits, and mirroring or cropping loses them; nothing of the kind was practised.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import AssetError, ConfigError
from facesec_bench.interfaces import CHIP_SIZE
from facesec_bench.watermarks.messages import check, check_chips

PACKAGED = Path(__file__).with_suffix(".safetensors")
"""The weights that come with the package; hidden.json beside them says how they were made."""

GRID = CHIP_SIZE // 8
PLANES = 4
"""The message is laid out as 4 planes of 28 x 28 places, one place to an 8 x 8 block of a JPEG file."""

WIDTH = 32


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(4, outputs), nn.LeakyReLU(0.1, inplace=True)
    )


class Encoder(nn.Module):
    """Chip and message -> marked chip.

    Args:
        bits: length of a message.
        rms_255: largest root mean square of the residual over a chip, in grey levels of 255; 2 is a PSNR of 42.1 dB.
        peak_255: largest change of a pixel, in grey levels of 255.
    """

    limits: Tensor

    def __init__(self, bits: int, rms_255: float, peak_255: float) -> None:
        super().__init__()
        self.message = nn.Linear(bits, PLANES * GRID * GRID)
        self.image = nn.Sequential(nn.PixelUnshuffle(4), _block(48, WIDTH))
        self.mix = nn.Sequential(_block(WIDTH + PLANES, WIDTH), _block(WIDTH, WIDTH), nn.Conv2d(WIDTH, 12, 3, 1, 1))
        self.register_buffer("limits", torch.tensor([rms_255, peak_255]) / 255)

    def forward(self, chips: Tensor, messages: Tensor, louder: float = 1.0) -> Tensor:
        """(B, 3, 224, 224) and (B, bits) of 0 and 1 -> (B, 3, 224, 224) in [0, 1].

        Args:
            louder: multiplies the limit of the root mean square; a training begins above 1.
        """
        planes = self.message(messages.to(chips) * 2 - 1).view(-1, PLANES, GRID, GRID)
        planes = functional.interpolate(planes, scale_factor=2.0, mode="nearest")
        drawn = self.mix(torch.cat([self.image(chips * 2 - 1), planes], dim=1))
        raw = functional.interpolate(functional.pixel_shuffle(drawn, 2), scale_factor=2.0, mode="bilinear")
        return (chips + self._limited(raw, louder)).clamp(0, 1)

    def _limited(self, raw: Tensor, louder: float) -> Tensor:
        """The residual within both limits: tanh bounds a pixel, a common factor the root mean square."""
        rms, peak = self.limits
        residual = peak * torch.tanh(raw)
        size = residual.square().mean(dim=(1, 2, 3), keepdim=True).add(1e-12).sqrt()
        return residual * (louder * rms / size).clamp(max=1)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Chip -> one score a bit."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        first = [nn.Conv2d(3, WIDTH, 8, 4, 2), nn.GroupNorm(4, WIDTH), nn.LeakyReLU(0.1, inplace=True)]
        rest = [_block(WIDTH, WIDTH), _block(WIDTH, 48, 2), _block(48, 48), nn.Conv2d(48, PLANES, 1)]
        self.places = nn.Sequential(*first, *rest)
        self.message = nn.Linear(PLANES * GRID * GRID, bits)

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] -> (B, bits) logits."""
        # Most of a photo's energy lies in its slow changes, which hold no bit here: without them learning is fast.
        detail = chips - functional.avg_pool2d(chips, 9, 1, 4, count_include_pad=False)
        return self.message(self.places(10 * detail).flatten(1))  # type: ignore[no-any-return]


class Networks(nn.Module):
    """Encoder and decoder: what is trained, and what a weights file holds."""

    def __init__(self, bits: int = 32, rms_255: float = 2.0, peak_255: float = 8.0) -> None:
        super().__init__()
        if bits < 1 or not 0 < rms_255 <= peak_255 <= 255:
            raise ConfigError(
                f"hidden: found bits = {bits}, rms_255 = {rms_255} and peak_255 = {peak_255}, wanted at least one bit "
                "and 0 < rms_255 <= peak_255 <= 255."
            )
        self.encoder = Encoder(bits, rms_255, peak_255)
        self.decoder = Decoder(bits)
        # Read a place with the weight it was written with: a matched filter is a good first guess.
        with torch.no_grad():
            self.decoder.message.weight.copy_(0.3 * self.encoder.message.weight.T)


class Hidden(nn.Module):
    """The watermark `hidden`: 32 bits (as packaged) in an aligned chip of 224 px, PSNR 42 dB or more.

    Args:
        weights: path of a safetensors file that `facesec run experiment=train_hidden` wrote; None takes the packaged
            one, trained on generated faces only.

    Raises:
        AssetError: there is no such file, or it holds something else.
    """

    name = "hidden"
    differentiable = True

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        path = PACKAGED if weights is None else Path(weights).expanduser()
        tensors = _read(path)
        self.bits = tensors["encoder.message.weight"].shape[1]
        self.networks = Networks(self.bits)
        try:
            # Stored at half precision; computed at full.
            self.networks.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise AssetError(f"{path.name}: the weights do not fit hidden: {error}. {_REMEDY}") from error
        self.eval().requires_grad_(False)
        self.digest = sha256(path)

    def encode(self, chips: Tensor, messages: Tensor) -> Tensor:
        """Mark the chips; differentiable in them (except where the result is cut off at 0 or 1).

        Args:
            chips: (B, 3, 224, 224) in [0, 1].
            messages: (B, bits) of 0 and 1.

        Returns:
            (B, 3, 224, 224) in [0, 1], within the limits of root mean square and peak that the weights were trained at.

        Raises:
            ConfigError: a wrong shape, or a message of anything but 0 and 1.
        """
        check(self.name, self.bits, chips, messages)
        check_chips(self.name, chips, CHIP_SIZE)
        return self.networks.encoder(chips, messages)  # type: ignore[no-any-return]

    def decode(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) in [0, 1] -> (B, bits) scores, positive = 1; differentiable.

        Raises:
            ConfigError: a wrong shape.
        """
        check_chips(self.name, chips, CHIP_SIZE)
        return self.networks.decoder(chips)  # type: ignore[no-any-return]


_REMEDY = "Train a file with: facesec run experiment=train_hidden; then name it: watermark.weights=FILE"


def _read(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise AssetError(f"{path.name}: found no such weights of hidden. {_REMEDY}") from error
    except (SafetensorError, OSError) as error:
        raise AssetError(f"{path.name}: found no safetensors file ({error}). {_REMEDY}") from error
    if "encoder.message.weight" not in tensors:
        raise AssetError(f"{path.name}: found {sorted(tensors)[:3]}, wanted the tensors of hidden. {_REMEDY}")
    return tensors
