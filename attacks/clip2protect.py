"""CLIP2Protect (Shamshad, Naseer and Nandakumar, "CLIP2Protect: Protecting Facial Privacy using Text-Guided Makeup via
Adversarial Latent Search", CVPR 2023): a photo's latent is moved until recognisers err and the makeup asked for shows.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from attacks.jitter import Jitter, jittered
from attacks.latent_file import LatentFile
from attacks.pivotal_tuning import Distance, Pivoting, invert, tune
from attacks.pulls import Pull, arrived, pull_of
from attacks.shrunk import shrunk
from facesec_bench.errors import ConfigError
from facesec_bench.generators.frame import Frame
from facesec_bench.generators.tuned import Tuned
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget, Guidance, ImageGenerator, Latent
from facesec_bench.makeup.fitting import own_face
from facesec_bench.makeup.regions import face_mask
from facesec_bench.search import AdamStep, Objective, Part, borrowed, minimise
from facesec_bench.seeds import generator as seeded
from facesec_bench.spaces import LatentWalk

_REMEMBERED = 64
"""Photos whose pivots are kept, so that other surrogates and goals need no second stage 1; with more photos than these,
stage 1 is done again for each."""
_WEIGHTS = 2**28
"""Weights of tuned generators that are kept with them: 1 GiB, or 8 photos of StyleGAN2 at 1024 pixels."""
_LOOK = 5
"""Steps between two looks at whether a photo has arrived."""


class Clip2Protect:
    """Stage 1 finds a pivot (`attacks.pivotal_tuning`), stage 2 walks from it: Adam on

        L = adversarial * mean_k w_k L_adv(f_k) + makeup * L_guidance + regulariser * |change|^2

    over the free layers, the change counted in units of each layer. L_adv of a surrogate f: impersonating
    1 - cos(f(x'), f(target)); dodging 1 + the mean cosine to photo and reference; dodging with a decoy,
    as published, cos(f(x'), f(x)) - cos(f(x'), f(decoy)).

    Against the paper: the sum over surrogates is a mean; recognisers see the aligned chip, not a detector's box; the
    pivot comes from optimisation where no latents are given; every photo has a freshly tuned generator, where the
    released code goes on with the one it has; large pictures are averaged down to `side` at once, where the released
    code takes every fourth pixel for stage 1. `rendering="generator"` is the published way, a generated picture in
    place of the face; "residual" adds only what the walk changes, G(w') - G(w), so the photo keeps its own detail
    whatever the generator's resolution. Both stay inside the face region.

    Args:
        generator: paints.
        guidance: what the makeup shall be; None leaves the term out.
        lpips: distance of stage 1.
        pivoting: how stage 1 is done.
        free: layers that move in stage 2.
        steps: of stage 2.
        step: its Adam step, in units of the layers.
        shade_255: greatest change of a pixel, in grey levels out of 255, which small changes do not feel and large
            ones approach: shades instead of blots. None, as in the paper, for no bound.
        reach: greatest root mean square of the change, in units of the layers; None for no bound.
        adversarial, makeup, regulariser: weights of the three terms.
        rendering: see above.
        decoy: whether dodging pulls to somebody else.
        jitter: views over which L_adv is averaged, one a step.
        stop: a photo stops when it has arrived under every surrogate; None walks all steps. Cosines are counted from 0,
            as to the other people of the aim's gallery on average, to 1, the same photo: dodging arrives at `stop` to
            oneself or less, impersonating at 1 - `stop` to the target or more.
        seed: of what stage 1 draws; stage 1 of a photo depends on it and on the photo's key only.
        latents: pivots found elsewhere, by the photos' keys, or the path of their file: nothing is inverted then, and
            `pivoting` only tunes. None inverts.
        raw_units: count steps, reach and regulariser in the latent's own numbers, as the released code does, and not
            in units of each layer.
        side: pictures of a larger generator are averaged to this side before anything looks at them.
        regularised: the free layers whose change counts for the regulariser; None for all. The released code counts
            the rows of W+ and not the noise maps.
        fit: leave hair and background beside a turned cheek as they are, told by their colours.
        surrogate_weights: how much surrogates count, by name, against the others' 1 each. One that any noise misleads
            draws the search after it, and what misleads it does not transfer.

    Raises:
        ConfigError: a number out of range, or a layer that the generator does not have.
        DataError: a file of latents that cannot be read; when called, one without a photo that is to be cloaked.
    """

    def __init__(
        self,
        generator: ImageGenerator,
        lpips: Distance,
        pivoting: Pivoting,
        free: Sequence[str],
        guidance: Guidance | None = None,
        steps: int = 50,
        step: float = 0.01,
        shade_255: float | None = None,
        reach: float | None = None,
        adversarial: float = 0.7,
        makeup: float = 0.3,
        regulariser: float = 0.01,
        rendering: Literal["residual", "generator"] = "residual",
        decoy: bool = False,
        jitter: Jitter | None = None,
        stop: float | None = None,
        seed: int = 0,
        latents: LatentFile | str | Path | None = None,
        raw_units: bool = False,
        side: int = 256,
        regularised: Sequence[str] | None = None,
        fit: bool = False,
        surrogate_weights: Mapping[str, float] | None = None,
    ) -> None:
        if rendering not in ("residual", "generator"):
            raise ConfigError(f"clip2protect: found rendering {rendering!r}, wanted 'residual' or 'generator'.")
        if steps < 0 or not step > 0 or min(adversarial, makeup, regulariser) < 0:
            raise ConfigError("clip2protect: wanted steps and weights of 0 or more, and a step above 0.")
        if shade_255 is not None and not shade_255 > 0:
            raise ConfigError(f"clip2protect: found shade_255 {shade_255}, wanted above 0, or null for no bound.")
        if surrogate_weights and min(surrogate_weights.values()) < 0:
            raise ConfigError(f"clip2protect: found surrogate_weights {dict(surrogate_weights)}, wanted 0 or more.")
        self.generator, self.lpips, self.pivoting, self.guidance = shrunk(generator, side), lpips, pivoting, guidance
        self.free, self.steps, self.step, self.shade_255, self.reach = tuple(free), steps, step, shade_255, reach
        self.fit, self.surrogate_weights = fit, dict(surrogate_weights or {})
        self.adversarial, self.makeup, self.regulariser = adversarial, makeup, regulariser
        self.rendering, self.decoy, self.jitter, self.stop, self.seed = rendering, decoy, jitter or Jitter(), stop, seed
        self.latents = LatentFile(latents) if isinstance(latents, str | Path) else latents
        units = generator.units()
        _check_layers(generator.name, list(units), "free", self.free)
        self.regularised = self.free if regularised is None else tuple(regularised)
        if wrong := [layer for layer in self.regularised if layer not in self.free]:
            raise ConfigError(f"clip2protect: found {', '.join(wrong)} in regularised, wanted free layers.")
        if self.latents is None:
            _check_layers(generator.name, list(units), "pivoting.layers", pivoting.layers)
        self.units = dict.fromkeys(units, 1.0) if raw_units else units
        self.frame = Frame(self.generator.landmarks, self.generator.resolution)
        self._pivots: OrderedDict[str, _Pivot] = OrderedDict()

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """Protected chips (B, 3, 224, 224), see `interfaces.Evasion`."""
        if not surrogates:
            raise ConfigError("clip2protect follows gradients and found no surrogate; name at least one target.")
        self._to(faces.images.device)
        with borrowed(self.generator, self.lpips, *surrogates):
            latent, tuned = self.pivots(faces)
            weights = self._weights(surrogates)
            pulls = [
                pull_of(s, faces, aim, weight, decoy=self.decoy, strangers=self.stop is not None)
                for s, weight in zip(surrogates, weights, strict=True)
                if weight
            ]
            whole = _Scene(faces.images, latent, tuned, pulls)
            part = self._part(whole, rng)
            params = minimise(
                part.objectives,
                part.space,
                AdamStep(self.step),
                self.steps,
                rng,
                penalty=part.penalty,
                until=part.until,
                look_every=_LOOK,
                narrow=None if self.stop is None else lambda rows: self._part(whole.rows(rows), rng),
            )
            with torch.no_grad():
                return part.space.render(params)

    def pivots(self, faces: Faces) -> tuple[dict[str, Tensor], Tuned]:
        """Stage 1 of each photo: the latent of every layer, (B, ...), and the generators tuned to paint them."""
        names = [_name(key, image) for key, image in zip(faces.keys, faces.images, strict=True)]
        missing = [i for i, name in enumerate(names) if name not in self._pivots]
        if missing:
            pictures = self.frame.to_picture(faces.images[missing])
            rngs = [seeded(self.seed, "pivot", faces.keys[i]) for i in missing]
            if self.latents is not None:
                latent = self.latents.of(self.generator, [faces.keys[i] for i in missing], rngs)
            else:
                latent = invert(self.generator, pictures, self.pivoting, self.lpips, self.units, rngs)
            tuned = tune(self.generator, latent, pictures, self.pivoting, self.lpips, rngs[0])
            for place, i in enumerate(missing):
                row = {layer: tensor[place : place + 1] for layer, tensor in latent.items()}
                self._pivots[names[i]] = _Pivot(row, tuned.rows([place]))
        found = [self._pivots[name] for name in names]
        while len(self._pivots) > max(self._most(), len(names)):
            self._pivots.popitem(last=False)
        whole = {layer: torch.cat([pivot.latent[layer] for pivot in found]) for layer in found[0].latent}
        return whole, Tuned.joined([pivot.tuned for pivot in found])

    def _most(self) -> int:
        """Pivots that are kept."""
        weights = sum(p.numel() for p in self.generator.parameters()) if isinstance(self.generator, nn.Module) else 1
        return min(_REMEMBERED, _WEIGHTS // max(1, weights))

    def _to(self, device: torch.device) -> None:
        for network in (self.generator, self.lpips, self.frame):
            if isinstance(network, nn.Module):
                network.to(device)

    def _weights(self, surrogates: Sequence[FRTarget]) -> list[float]:
        """Of each surrogate; 1 on average over those that count, so the other terms keep their share."""
        found = [self.surrogate_weights.get(surrogate.name, 1.0) for surrogate in surrogates]
        if not any(found):
            names = ", ".join(surrogate.name for surrogate in surrogates)
            raise ConfigError(f"clip2protect: found weights of 0 for all surrogates ({names}), wanted one above 0.")
        return [weight * sum(w > 0 for w in found) / sum(found) for weight in found]

    def _part(self, scene: _Scene, rng: torch.Generator) -> Part:
        """The search of the photos of a scene."""
        weighed = [
            _times(self.adversarial * pull.weight, jittered(pull.loss, self.jitter, rng)) for pull in scene.pulls
        ]
        if self.guidance is not None and self.makeup:
            # minimise averages the objectives, so a term in one of them counts for a K-th of itself.
            asked = _times(self.makeup * len(weighed), self.guidance.bind(scene.photos, rng))
            weighed[0] = _sum(weighed[0], asked)
        space = LatentWalk(scene.latent, self.free, self._picture(scene), self.units, self.reach)
        until = None if self.stop is None else partial(arrived, scene.pulls, self.stop)
        weight = self.regulariser * self._counted(scene)
        return Part(weighed, space, lambda params: (weight * params.square()).sum(1), until)

    def _counted(self, scene: _Scene) -> Tensor:
        """(P,), as the walk's parameters: 1 where the regulariser counts, else 0."""
        sizes = {layer: scene.latent[layer][0].numel() for layer in self.free}
        parts = [torch.full((size,), float(layer in self.regularised)) for layer, size in sizes.items()]
        return torch.cat(parts).to(scene.photos)

    def _picture(self, scene: _Scene) -> Callable[[Latent], Tensor]:
        face = own_face(scene.photos) if self.fit else face_mask(scene.photos.shape[-1]).to(scene.photos)
        mask = self.frame.window * face
        with torch.no_grad():
            before = scene.tuned.synthesise(scene.latent)

        def picture(latent: Latent) -> Tensor:
            painted = scene.tuned.synthesise(latent)
            if self.rendering == "residual":
                change = self.frame.to_chip(painted - before)
            else:
                change = self.frame.to_chip(painted) - scene.photos
            if self.shade_255 is not None:
                most = self.shade_255 / 255
                change = most * torch.tanh(change / most)
            return (scene.photos + mask * change).clamp(0, 1)

        return picture


@dataclass(frozen=True)
class _Pivot:
    latent: dict[str, Tensor]
    tuned: Tuned


@dataclass(frozen=True)
class _Scene:
    """All that stage 2 knows of some photos."""

    photos: Tensor
    latent: Latent
    tuned: Tuned
    pulls: list[Pull]

    def rows(self, rows: Tensor) -> _Scene:
        """For some of the photos."""
        latent = {layer: tensor[rows] for layer, tensor in self.latent.items()}
        return _Scene(self.photos[rows], latent, self.tuned.rows(rows), [pull.rows(rows) for pull in self.pulls])


def _check_layers(painter: str, known: list[str], what: str, wanted: Sequence[str]) -> None:
    """Before stage 1, which may take long, and not after it."""
    unknown = [layer for layer in wanted if layer not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"clip2protect: found {', '.join(unknown) or 'nothing'} in {what}, wanted some of the layers of {painter}: "
            f"{', '.join(known)}."
        )


def _times(weight: float, objective: Objective) -> Objective:
    return lambda images: weight * objective(images)


def _sum(first: Objective, second: Objective) -> Objective:
    return lambda images: first(images) + second(images)


def _name(key: str, image: Tensor) -> str:
    return f"{key}/{hashlib.sha256(image.cpu().contiguous().numpy().tobytes()).hexdigest()}"
