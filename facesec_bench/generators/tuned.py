"""Pivotal tuning's generators: for each image its own copy of the weights.

Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images", ACM TOG 2022. The released code of CLIP2Protect
tunes one generator on image after image, so that an image depends on those before it; here no copy sees another image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from facesec_bench.interfaces import ImageGenerator, Latent


class _Picture(nn.Module):
    """A generator whose call is `synthesise`, as `functional_call` wants it."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latent: Latent) -> Tensor:
        return self.generator.synthesise(latent)  # type: ignore[operator, no-any-return]


class Tuned(nn.Module):
    """`count` copies of a generator's weights, one an image; train it with `training.fit`.

    The copies are Parameters of their own, without `requires_grad` until something trains them: an image that no longer
    enters the loss gets no gradient, and its optimiser state rests. The generator itself is not a part of this module
    and never changes. Images are drawn one after another: what an image becomes does not depend, to the bit, on which
    others are drawn with it, and it is faster than `torch.func.vmap` over stacked weights: 36, 150 and 365 ms against
    39, 253 and 673 for DCGAN at 1, 4 and 10 images, forward and backward to the weights, on one CPU core.

    Args:
        generator: an `interfaces.ImageGenerator` that is a torch module, on its device.
        count: number of images.

    Raises:
        TypeError: the generator is no torch module.
    """

    def __init__(self, generator: ImageGenerator, count: int) -> None:
        super().__init__()
        if not isinstance(generator, nn.Module):
            raise TypeError(f"Tuned wants a generator that is a torch module; found {type(generator).__name__}.")
        self._picture = (_Picture(generator),)  # in a tuple, so that its parameters are not taken for ours
        self._names = [name for name, _ in self._picture[0].named_parameters()]
        self.copies = nn.ModuleList(
            nn.ParameterList(
                nn.Parameter(parameter.detach().clone(), requires_grad=False)
                for parameter in self._picture[0].parameters()
            )
            for _ in range(count)
        )

    def __len__(self) -> int:
        return len(self.copies)

    @staticmethod
    def joined(parts: Sequence[Tuned]) -> Tuned:
        """The generators of several, in their order, sharing their Parameters; all must be of one generator."""
        whole = parts[0].rows(range(len(parts[0])))
        for part in parts[1:]:
            if part._picture[0].generator is not whole._picture[0].generator:
                raise ValueError("Tuned.joined wants copies of one generator; found two.")
            whole.copies.extend(part.copies)
        return whole

    def rows(self, indices: Sequence[int] | Tensor) -> Tuned:
        """The generators of the images at `indices`, in that order, sharing their Parameters with this one."""
        part = Tuned(self._picture[0].generator, 0)  # type: ignore[arg-type]
        part.copies.extend(self.copies[i] for i in torch.as_tensor(indices, dtype=torch.int64).tolist())
        return part

    def synthesise(self, latent: Latent) -> Tensor:
        """A latent of every layer, (B, ...) with B = len(self) -> (B, 3, R, R) RGB in [0, 1]; image i by copy i.

        Raises:
            ValueError: another number of images than there are copies, or what the generator refuses.
        """
        found = {layer: len(tensor) for layer, tensor in latent.items()}
        if not found or set(found.values()) != {len(self)} or not len(self):
            raise ValueError(f"Tuned holds {len(self)} generators, wanted a latent for each; found rows {found}.")
        return torch.cat(
            [
                functional_call(
                    self._picture[0],
                    dict(zip(self._names, copy.parameters(), strict=True)),
                    ({layer: tensor[i : i + 1] for layer, tensor in latent.items()},),
                )
                for i, copy in enumerate(self.copies)
            ]
        )
