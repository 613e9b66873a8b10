"""Where faces lie in the aligned photos that StyleGAN2's face models were trained on."""

from __future__ import annotations

from facesec_bench.interfaces import CHIP_LANDMARKS

Point = tuple[float, float]


def landmarks(resolution: int, of: tuple[Point, ...] = CHIP_LANDMARKS) -> tuple[Point, ...]:
    """The five landmarks in a crop of `resolution` pixels a side around a face whose landmarks are `of`.

    Karras et al., "Progressive Growing of GANs", ICLR 2018, Appendix C (FFHQ is cropped likewise): with eyes e0, e1 and
    mouth corners m0, m1, x' = e1 - e0 and y' = mean(e) - mean(m); the crop is centred on mean(e) - 0.1 y', its side is
    max(4 |x'|, 3.6 |y'|), and its horizontal axis is x' - Rotate90(y').
    """
    e0, e1, _, m0, m1 = (complex(x, y) for x, y in of)
    across, up = e1 - e0, (e0 + e1) / 2 - (m0 + m1) / 2
    centre = (e0 + e1) / 2 - 0.1 * up
    side = max(4.0 * abs(across), 3.6 * abs(up))
    # Rotate90 takes the upward y' to the left: both summands point to the right.
    axis = across + up * 1j
    axis /= abs(axis)
    half = complex(resolution / 2, resolution / 2)
    places = [(complex(x, y) - centre) * axis.conjugate() / side * resolution + half for x, y in of]
    return tuple((p.real, p.imag) for p in places)
