"""EfficientNet-B0 with an ArcFace head (Tan & Le, ICML 2019; Deng et al., CVPR 2019). Weak."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from facesec_bench.asset_weights import install_weights, load_weights
from facesec_bench.interfaces import TargetCard
from facesec_bench.targets.template import Template, check_range

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _without_batchnorm(features: nn.Module) -> None:
    """Replace every (convolution, BatchNorm) pair by the convolution with a bias: the file has them folded."""
    for module in list(features.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
                conv = module.get_submodule("0")
                conv.register_parameter("bias", nn.Parameter(torch.empty(child.num_features)))


class EffNetArcFace(nn.Module):
    """The FR target `effnet_arcface`.

    It wants a loose crop: AUC on lfw100 is 0.88 on the ArcFace crop and 0.92 on the whole chip, enlarged to 256 px.

    Args:
        weights: path of a safetensors file laid out like the converted asset; None takes the asset `effnet_arcface`.
    """

    name = "effnet_arcface"
    card = TargetCard(
        dimension=384,
        input_size=256,
        preprocessing="RGB in [0, 1] -> ImageNet mean and standard deviation",
        template="the whole chip, enlarged to 256 px",
        metric="cosine",
        licence="MIT",
        note="a weak recogniser: AUC 0.92 on 100 LFW photos on which the others reach 0.999; "
        "a surrogate or the cheap system, never the only victim",
    )
    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, weights: str | None = None) -> None:
        super().__init__()
        from torchvision.models import efficientnet_b0  # half a second to import

        self.features_net = efficientnet_b0(weights=None).features
        _without_batchnorm(self.features_net)
        self.neck = nn.Conv2d(1280, 384, 1)
        self.register_buffer("scale", torch.empty(384))
        self.register_buffer("shift", torch.empty(384))
        tensors, self.digest = load_weights("effnet_arcface", weights)
        renamed = {key.replace("features.", "features_net."): tensor for key, tensor in tensors.items()}
        install_weights(self, renamed, "effnet_arcface")
        self.register_buffer("mean", torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_STD)[:, None, None], persistent=False)
        self.template = Template.whole(256)

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in [0, 1] -> (B, 384), not normalised; S is free, as the network ends in a mean."""
        x = functional.silu(self.neck(self.features_net((crops - self.mean) / self.std)))
        return x.mean(dim=(2, 3)) * self.scale + self.shift

    def embed(self, chips: Tensor) -> Tensor:
        """(B, 3, 224, 224) RGB in [0, 1] -> (B, 384) unit vectors, differentiable in the chips."""
        check_range(chips)
        return functional.normalize(self.features(self.template(chips)), dim=1)
