"""The makeup renderer: a few numbers a photo -> the photo with makeup on, differentiable.

A layer is a soft mask, a colour and an opacity. In CIELAB the mean of the region moves towards the colour, relit to the
photo's light, and every deviation of lightness from that mean stays: pores, folds and shine show through, as through
makeup and not through paint. Masks and mixing are closed forms of this project; parametric makeup of masks and colours
as an attack space is in the spirit of Adv-Makeup (Yin et al., IJCAI 2021), which paints with a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from facesec_bench.errors import ConfigError
from facesec_bench.makeup import regions
from facesec_bench.makeup.cielab import as_pigment, relit, to_lab, to_rgb
from facesec_bench.makeup.colour_names import COLOURS
from facesec_bench.makeup.colours import FULL_COVER, Layer, Makeup
from facesec_bench.makeup.dials import BOX, COLUMN, DIALS, EXTENTS, dial_values, unit_inverse
from facesec_bench.makeup.fitting import Fit, fitted
from facesec_bench.makeup.regions import REGIONS

HEAVY: dict[str, float] = dict(FULL_COVER)
"""Greatest opacities: whatever a prompt can ask for."""
NATURAL: dict[str, float] = {region: 0.75 * full for region, full in FULL_COVER.items()}
"""Greatest opacities of everyday makeup; a prompt without strengths stays within them."""
LIMITS = {"natural": NATURAL, "heavy": HEAVY}
_FAINT = -3.0  # an opacity of about 4 % of its limit: hardly seen, but not where the sigmoid is flat
_EVERYDAY = {
    "skin": ("natural", "honey", "porcelain"),
    "cheeks": ("peach", "rose", "apricot"),
    "lids": ("taupe", "mauve", "bronze"),
    "brows": ("cocoa", "chestnut", "taupe"),
    "lips": ("nude", "rose", "berry"),
}


@dataclass(frozen=True)
class MakeupSpace:
    """All makeups that `chips` may wear (an `interfaces.Space`): parameters are (B, 32) reals, see `DIALS`.

    Attributes:
        chips: (B, 3, S, S) in [0, 1].
        limits: greatest opacity of each region, or "natural" or "heavy"; a region that is not named wears nothing.
        first: where a search starts; None starts with a random everyday makeup.
        spread: standard deviation of the start about `first`, in parameters.
        fit: leave out hair, teeth and background (`fitting`).

    Raises:
        ConfigError: chips that are not square or leave [0, 1], an unknown region or a limit outside [0, 1], or a
            `first` that is stronger than its limit.
    """

    chips: Tensor
    limits: str | Mapping[str, float] = "natural"
    first: Makeup | None = None
    spread: float = 0.1
    fit: bool = True
    _fit: Fit = field(init=False, repr=False, compare=False)
    _before: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.chips.ndim != 4 or self.chips.shape[1] != 3 or self.chips.shape[2] != self.chips.shape[3]:
            raise ConfigError(f"MakeupSpace: found chips {tuple(self.chips.shape)}, wanted (B, 3, S, S).")
        if self.chips.numel() and not (self.chips.min() >= 0 and self.chips.max() <= 1):
            raise ConfigError("MakeupSpace: the chips leave [0, 1]; pass RGB as floats in [0, 1].")
        object.__setattr__(self, "limits", _limits(self.limits))
        chips = self.chips.detach()
        object.__setattr__(self, "_fit", fitted(chips, self.fit))
        # Subtracted again in `render`, so that rounding on the way to CIELAB and back leaves no trace.
        object.__setattr__(self, "_before", to_rgb(self._fit.lab))
        if self.first is not None:
            self.params_of(self.first)

    def start(self, rng: torch.Generator) -> Tensor:
        """(B, 32): about `first`, or everyday colours at a fifth to a half of their limits. Images draw one after
        another, so an image's start depends on its place in the batch but not on what stands around it."""
        rows = [self._start(rng) for _ in range(len(self.chips))]
        return torch.stack(rows).to(self.chips) if rows else self.chips.new_zeros(0, len(DIALS))

    def render(self, params: Tensor) -> Tensor:
        """(B, 32) -> (B, 3, S, S) in [0, 1]. Where every opacity is 0 the photo comes back to the bit.

        Raises:
            ConfigError: another shape.
        """
        if params.shape != (len(self.chips), len(DIALS)):
            raise ConfigError(
                f"MakeupSpace: found parameters {tuple(params.shape)}, wanted ({len(self.chips)}, {len(DIALS)})."
            )
        lab = self.worn(dial_values(params))
        return (self.chips + (to_rgb(lab) - self._before)).clamp(0, 1)

    def worn(self, dials: Mapping[tuple[str, str], Tensor]) -> Tensor:
        """The photos with makeup on in CIELAB, (B, 3, S, S), unclipped."""
        lab = self._fit.lab
        for region in REGIONS:
            if not self._limit(region):
                continue
            rgb = torch.cat([dials[region, channel] for channel in ("red", "green", "blue")], 1)
            level = self._fit.level[region]
            colour = relit(as_pigment(to_lab(rgb)), self._fit.light)
            # Lightness moves as a whole and keeps its detail; a and b are covered.
            aim = torch.cat([lab[:, :1] + (colour - level)[:, :1], colour[:, 1:].expand_as(lab[:, 1:])], 1)
            lab = lab + self._cover(region, dials) * (aim - lab)
        return lab

    def project(self, params: Tensor) -> Tensor:
        """Clamp to the box."""
        return params.clamp(-BOX, BOX)

    def params_of(self, makeup: Makeup) -> Tensor:
        """(B, 32): the parameters that wear `makeup`, shapes at their middle, nothing where it names nothing.

        Raises:
            ConfigError: a layer is stronger than its limit.
        """
        row = torch.full((len(DIALS),), 0.5, dtype=torch.float64)
        for region in REGIONS:
            layer = makeup.on(region) or Layer(region, COLOURS[_EVERYDAY[region][0]], 0.0)
            limit = self._limit(region)
            if layer.opacity > limit + 1e-9:
                raise ConfigError(
                    f"makeup: found opacity {layer.opacity:.2f} on {region}, wanted at most {limit:.2f}; ask for less "
                    'strength, or set limits to "heavy".'
                )
            share = min(1.0, layer.opacity / limit) if limit else 0.0
            begin = COLUMN[region, "red"]
            row[begin : begin + 4] = torch.tensor([*layer.colour, share], dtype=torch.float64)
        return unit_inverse(row).to(self.chips).expand(len(self.chips), -1).clone()

    def makeup_of(self, params: Tensor) -> tuple[Makeup, ...]:
        """(B, 32) -> what each photo wears, without shapes and softness."""
        dials = dial_values(params.detach())
        found = []
        for i in range(len(params)):
            value = {key: float(tensor[i].clamp(0, 1)) for key, tensor in dials.items() if key[1] in _WORDED}
            layers = [
                Layer(r, (value[r, "red"], value[r, "green"], value[r, "blue"]), value[r, "opacity"] * self._limit(r))
                for r in REGIONS
            ]
            found.append(Makeup(tuple(layers)))
        return tuple(found)

    def rows(self, rows: Tensor) -> MakeupSpace:
        """The space of some of the images."""
        return MakeupSpace(self.chips[rows], self.limits, self.first, self.spread, self.fit)

    def _limit(self, region: str) -> float:
        assert isinstance(self.limits, Mapping)  # as __post_init__ leaves it
        return self.limits.get(region, 0.0)

    def _cover(self, region: str, dials: Mapping[tuple[str, str], Tensor]) -> Tensor:
        """(B, 1, S, S): opacity times mask, computed only where the mask can reach."""
        side = self.chips.shape[-1]
        top, bottom, left, right = _window(region, side)
        x, y = regions.grid(side, self.chips)
        x, y = x[..., left:right], y[..., top:bottom, :]
        extents = [dials[region, name] for name, _, _ in EXTENTS[region]]
        shape = regions.oval if region == "skin" else getattr(regions, region)
        mask = regions.ramp(shape(x, y, *extents), dials[region, "softness"])
        if region == "skin":
            mask = mask * regions.bare(side, self.chips)[..., top:bottom, left:right]
        mask = mask * self._fit.gates[region][..., top:bottom, left:right]
        opacity = self._limit(region) * dials[region, "opacity"]
        return functional.pad(opacity * mask, (left, side - right, top, side - bottom))

    def _start(self, rng: torch.Generator) -> Tensor:
        first = self.first if self.first is not None else _everyday(rng, self)
        row = self.params_of(first)[0]
        row = row + self.spread * torch.randn(len(DIALS), generator=rng, device=rng.device).to(row)
        opacities = [COLUMN[region, "opacity"] for region in REGIONS]
        row[opacities] = row[opacities].clamp_min(_FAINT)
        return self.project(row)


_WORDED = ("red", "green", "blue", "opacity")


def apply(chips: Tensor, makeup: Makeup, fit: bool = True) -> Tensor:
    """(B, 3, S, S) chips in [0, 1] -> the same with makeup on."""
    space = MakeupSpace(chips, HEAVY, makeup, fit=fit)
    return space.render(space.params_of(makeup))


def _everyday(rng: torch.Generator, space: MakeupSpace) -> Makeup:
    """Random colours that people wear on any day, at a fifth to a half of the limits."""
    draws = torch.rand(2 * len(REGIONS), generator=rng, device=rng.device).tolist()
    layers = []
    for region, pick, strength in zip(REGIONS, draws[::2], draws[1::2], strict=True):
        names = _EVERYDAY[region]
        opacity = (0.2 + 0.3 * strength) * space._limit(region)
        layers.append(Layer(region, COLOURS[names[int(pick * len(names))]], opacity))
    return Makeup(tuple(layers))


def _limits(limits: str | Mapping[str, float]) -> dict[str, float]:
    if isinstance(limits, str):
        if limits not in LIMITS:
            raise ConfigError(f"MakeupSpace: found limits {limits!r}, wanted 'natural', 'heavy' or a number a region.")
        return dict(LIMITS[limits])
    for region, limit in limits.items():
        if region not in REGIONS or not 0 <= limit <= 1:
            raise ConfigError(
                f"MakeupSpace: found limit {limit} for {region!r}, wanted a number in [0, 1] for any of "
                f"{', '.join(REGIONS)}."
            )
    return {region: float(limit) for region, limit in limits.items()}


@lru_cache(maxsize=64)
def _window(region: str, side: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of the part of a chip that the region's mask can reach at any setting."""
    x, y = regions.grid(side)
    shape = regions.oval if region == "skin" else getattr(regions, region)
    softest: float = 1.4 * regions.SOFTNESS[region]
    ends: Sequence[tuple[float, float]] = [(low, high) for _, low, high in EXTENTS[region]]
    reached = sum(regions.ramp(shape(x, y, *setting), softest) for setting in itertools.product(*ends))
    assert isinstance(reached, Tensor)
    hit = (reached[0, 0] > 0).nonzero()
    if not len(hit):
        return 0, side, 0, side
    (top, left), (bottom, right) = hit.amin(0).tolist(), hit.amax(0).tolist()
    return top, bottom + 1, left, right + 1
