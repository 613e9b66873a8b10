"""LPIPS (Zhang et al., CVPR 2018): the `lpips` package with backbones from the assets; it never downloads."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from facesec_bench.asset_weights import load_weights
from facesec_bench.errors import MissingPackageError, TargetError


def _package() -> Any:
    try:
        import lpips  # half a second, and only when LPIPS is used
    except ImportError as error:
        raise MissingPackageError("LPIPS needs the package lpips; run: pip install lpips") from error
    return lpips


class LPIPS(nn.Module):
    """Perceptual distance between two batches of images; 0 for the same image, larger is farther.

    It depends on the resolution. AlexNet, means over chips of ten people of LFW: noise of sd 0.05 gives 0.38 at 224 px
    and 0.17 at 112 px, another photo of the person 0.49 and 0.33.

    Args:
        net: the backbone; "alex" is the usual choice for evaluation, "vgg" for optimisation.
        weights: path of a safetensors file laid out like the converted asset; None takes `lpips_alex` or `lpips_vgg`.

    Raises:
        AssetError: the backbone is not in the cache and cannot be fetched.
        TargetError: the heads in the file are not those of the `lpips` package, so the two do not belong together.
    """

    def __init__(self, net: Literal["alex", "vgg"] = "alex", weights: str | None = None) -> None:
        super().__init__()
        if net not in ("alex", "vgg"):
            raise ValueError(f"LPIPS wants net 'alex' or 'vgg'; found {net!r}.")
        tensors, self.digest = load_weights(f"lpips_{net}", weights)
        # pnet_rand: a backbone without ImageNet weights, which the package would otherwise download.
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it draws weights before ours replace them
            warnings.simplefilter("ignore", UserWarning)  # it calls torchvision by arguments that are deprecated
            model = _package().LPIPS(net=net, version="0.1", pretrained=True, pnet_rand=True, verbose=False)
        _fill_backbone(model.net, tensors)
        _check_heads(model, tensors)
        self.model = model.eval().requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 3, H, W) RGB in [0, 1] -> (B,) distances, differentiable in both.

        Raises:
            ValueError: shapes that differ or are not those of images.
        """
        if a.shape != b.shape or a.ndim != 4 or a.shape[1] != 3:
            raise ValueError(
                f"LPIPS wants two batches (B, 3, H, W) alike; found {tuple(a.shape)} and {tuple(b.shape)}."
            )
        return self.model(a, b, normalize=True).flatten()  # type: ignore[no-any-return]


def _fill_backbone(backbone: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `convs.{i}` into the convolutions of the backbone, in order."""
    convs = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    count = sum(name.startswith("convs.") for name in tensors) // 2
    if len(convs) != count:
        raise TargetError(f"The LPIPS backbone has {len(convs)} convolutions, its weights {count}.")
    with torch.no_grad():
        for index, conv in enumerate(convs):
            for name, parameter in conv.named_parameters():
                given = tensors[f"convs.{index}.{name}"]
                if given.shape != parameter.shape:
                    raise TargetError(
                        f"convs.{index}.{name} has shape {tuple(given.shape)}, wanted {tuple(parameter.shape)}."
                    )
                parameter.copy_(given)


def _check_heads(model: Any, tensors: dict[str, Tensor]) -> None:
    """Both sides carry the five linear heads; equal to the bit, or they are not from the same LPIPS."""
    for index in range(5):
        head = getattr(model, f"lin{index}").model[-1].weight.flatten()
        if not torch.equal(head, tensors[f"heads.{index}"]):
            raise TargetError(f"LPIPS head {index} of the weights differs from the one in the lpips package.")
