"""What a latent must look like before a generator draws it."""

from __future__ import annotations

from collections.abc import Mapping

from facesec_bench.interfaces import Latent


def check_latent(name: str, latent: Latent, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Layers as named, each (B, *shape) with one B.

    Args:
        shapes: layer -> the shape of one image's row.

    Raises:
        ValueError: a missing or unknown layer, or a wrong shape.
    """
    missing, unknown = [k for k in shapes if k not in latent], [k for k in latent if k not in shapes]
    if missing or unknown:
        raise ValueError(
            f"{name}: found a latent without {missing or 'nothing'} and with unknown {unknown or 'nothing'}; "
            f"wanted the layers {', '.join(shapes)}."
        )
    count = len(latent[next(iter(shapes))])
    for layer, shape in shapes.items():
        if tuple(latent[layer].shape) != (count, *shape):
            raise ValueError(f"{name}: layer {layer} is {tuple(latent[layer].shape)}, wanted {(count, *shape)}.")
