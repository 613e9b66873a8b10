"""SemSim: how near a recovery is to its original in the eyes of people who were asked whether they recognise it.

Sun et al., "Privacy Assessment on Reconstructed Images: Are Existing Evaluation Metrics Faithful to Human Perception?",
NeurIPS 2023. A ResNet-18 learns from people's answers: an original (anchor) shall lie nearer to a recovery that was
recognised (positive) than to one that was not (negative). No weights are published, so none are here.

As in the paper the anchor is the original (its code takes any picture of the folder), and embeddings are unit vectors
in training and in scoring (its code normalises in training only).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_download import sha256
from facesec_bench.errors import AssetError, ConfigError
from facesec_bench.files import write_atomically

MARGIN = 1.0
"""Of the triplet loss."""
REMEDY = (
    "Nobody publishes any: ask people which recoveries they recognise, write a CSV with the columns original, "
    "reconstruction, recognised, and run: facesec semsim train answers.csv --out semsim.safetensors"
)
LEAST_SIDE = 32


class SemSimNet(nn.Module):
    """torchvision's ResNet-18 without its last layer.

    Args:
        side: pictures are resized to so many pixels a side first.
        seed: of the weights it starts with.
    """

    def __init__(self, side: int = 64, seed: int = 0) -> None:
        super().__init__()
        from torchvision.models import resnet18

        if side < LEAST_SIDE:  # the network halves five times
            raise ConfigError(f"semsim: found side={side}, wanted {LEAST_SIDE} or more.")
        self.side = side
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()

    def resize(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 3, side, side)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"SemSim wants images (B, 3, H, W); found {tuple(images.shape)}.")
        if images.shape[-2:] == (self.side, self.side):
            return images
        size = (self.side, self.side)
        return functional.interpolate(images, size=size, mode="bilinear", antialias=True).clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 512) unit vectors, differentiable."""
        return functional.normalize(self.backbone((self.resize(images) - 0.5) / 0.25), dim=1)


def triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Three (B, D) of unit vectors -> (): mean of max(0, |a - p| - |a - n| + MARGIN)."""
    return functional.triplet_margin_loss(anchors, positives, negatives, margin=MARGIN, p=2)


def save_semsim(path: Path, network: SemSimNet, record: Mapping[str, Any]) -> None:
    """Write weights and the record of what they learned from into one safetensors file.

    Args:
        record: JSON values; `steps`, how long they trained, must be there and above 0.

    Raises:
        ConfigError: a record without steps: weights that learned nothing are none.
    """
    if not record.get("steps", 0) > 0:
        raise ConfigError(f"semsim: found steps={record.get('steps')}, wanted weights that were trained.")
    text = json.dumps({**record, "side": network.side}, sort_keys=True, allow_nan=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(path, save(tensors, metadata={"semsim": text}), durable=True)


def read_record(path: Path) -> dict[str, Any]:
    """What weights learned from.

    Raises:
        AssetError: no such file, or none that `save_semsim` wrote.
    """
    if not path.is_file():
        raise AssetError(f"{path}: no such file; wanted trained SemSim weights. {REMEDY}")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("semsim")
    except SafetensorError as error:
        raise AssetError(
            f"{path}: not a safetensors file ({error}); wanted trained SemSim weights. {REMEDY}"
        ) from error
    if text is None:
        raise AssetError(f"{path} holds no record of a SemSim training; wanted one. {REMEDY}")
    return dict(json.loads(text))


class SemSim(nn.Module):
    """The trained distance; lower means that people recognise the recovery more, so more leaks.

    Weights that learned from one kind of picture and attack say little of another: `record` tells which they were.

    Args:
        weights: the file that `facesec semsim train` wrote.

    Attributes:
        digest: sha256 of the file.
        record: what it learned from: digest and counts of the answers, settings, seed.

    Raises:
        AssetError: no weights, which gives no number; or a file of another kind. It says how to train them.
    """

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        if weights is None:
            raise AssetError(f"SemSim has no weights, and without trained ones it gives no number. {REMEDY}")
        path = Path(weights).expanduser()
        self.record = read_record(path)
        self.digest = sha256(path)
        self.network = SemSimNet(int(self.record["side"]))
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        try:
            self.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise AssetError(f"{path}: the tensors are not those of SemSim's ResNet-18 ({error}). {REMEDY}") from error
        self.eval().requires_grad_(False)

    def forward(self, originals: Tensor, reconstructions: Tensor) -> Tensor:
        """Two (B, 3, H, W) RGB in [0, 1], of whatever sizes -> (B,) distances in [0, 2], differentiable in both.

        The score of a set is their mean.

        Raises:
            ValueError: different numbers of pictures, or no pictures.
        """
        if len(originals) != len(reconstructions):
            raise ValueError(f"SemSim wants pairs; found {len(originals)} originals, {len(reconstructions)} others.")
        apart: Tensor = self.network(originals) - self.network(reconstructions)
        distances: Tensor = torch.linalg.vector_norm(apart, dim=1)
        return distances
