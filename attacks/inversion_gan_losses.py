"""What critics and generators of an inversion's GAN are trained towards, as plain functions of tensors.

GMI: Zhang et al., "The Secret Revealer", CVPR 2020, with the WGAN-GP of Gulrajani et al., NeurIPS 2017. KED-MI: Chen et
al., "Knowledge-Enriched Distributional Model Inversion Attacks", ICCV 2021, with the K + 1 classes of Salimans et al.,
"Improved Techniques for Training GANs", NeurIPS 2016. PLG-MI: Yuan et al., "Pseudo Label-Guided Model Inversion Attack
via Conditional Generative Adversarial Network", AAAI 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import DataError


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """mean (|grad D(x)|_2 - 1)^2 at x = mix * real + (1 - mix) * fake (WGAN-GP, Eq. 3), differentiable in the critic.

    Args:
        critic: (B, 3, R, R) -> (B,); row i may depend on picture i only.
        real, fake: (B, 3, R, R).
        mix: (B,) in [0, 1].

    Returns:
        ().
    """
    share = mix.view(-1, 1, 1, 1)
    between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    lengths: Tensor = slope.flatten(1).norm(dim=1)
    return (lengths - 1).square().mean()


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """(B,) and (C,) scores -> (), mean D(fake) - mean D(real): smaller where the critic tells them apart."""
    return fake.mean() - real.mean()


def unlikely(logits: Tensor) -> Tensor:
    """(B, K) -> (B,): -log of the probability that a picture is real, in [0, inf).

    A fake is class K + 1, whose logit is fixed at 0, so p(real) = Z / (Z + 1) with log Z = LSE(logits), and
    -log p(real) = softplus(LSE) - LSE = softplus(-LSE). The last form loses no digits where LSE is large.
    """
    return functional.softplus(-logits.logsumexp(1))


def semi_supervised(labelled: Tensor, answers: Tensor, unlabelled: Tensor, fake: Tensor) -> Tensor:
    """KED-MI's loss of the critic: cross entropy to soft labels, and one half of telling real pictures from fakes.

    Args:
        labelled, unlabelled, fake: (B, K), (C, K) and (D, K) logits of two batches of photos and one of fakes.
        answers: (B, K) probabilities that the victim gave the first batch.

    Returns:
        (): CE + 1/2 (mean [softplus(LSE) - LSE] of photos + mean softplus(LSE) of fakes).
    """
    known = functional.cross_entropy(labelled, answers)
    return known + 0.5 * (unlikely(unlabelled).mean() + functional.softplus(fake.logsumexp(1)).mean())


def matching(real: Tensor, fake: Tensor, logits: Tensor, weight: float = 1e-4) -> Tensor:
    """KED-MI's loss of the generator: mean features near those of photos, and pictures that are clearly somebody.

    The paper's feature matching is L2; we follow its released code, which takes L1. So for the entropy, which the code
    sums over the batch.

    Args:
        real, fake: (B, F) and (C, F) features.
        logits: (C, K) of the fakes.
        weight: of the entropy, which is made small: it asks for pictures of one class each.

    Returns:
        ().
    """
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum()
    return (real.mean(0) - fake.mean(0)).abs().mean() + weight * entropy


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """PLG-MI's loss of the critic, (B,) and (C,) scores -> (): mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def pseudo_labels(probabilities: Tensor, top: int) -> Tensor:
    """PLG-MI's choice of photos for each class: the `top` that the victim takes for it most, the surest first.

    Args:
        probabilities: (N, K) on public photos.

    Returns:
        (K, top) rows; a photo may serve several classes.

    Raises:
        DataError: fewer than `top` photos.
    """
    if len(probabilities) < top:
        raise DataError(
            f"PLG-MI: found {len(probabilities)} public photos, wanted {top} or more for each class: give more photos, "
            "or a smaller top."
        )
    return probabilities.argsort(dim=0, descending=True, stable=True)[:top].T.contiguous()
