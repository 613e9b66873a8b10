"""One attack on one victim: it runs behind its access, and recognisers that it never saw look at what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.inversion_kept import Kept, Recovered
from experiments.inversion_plan import Attack
from facesec_bench.access import ClassifierAccess, EmbeddingAccess
from facesec_bench.data.detection import YuNet
from facesec_bench.interfaces import CHIP_SIZE, FRTarget
from facesec_bench.protocols import inversion
from facesec_bench.protocols.crafting import as_kept, checked
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.fidelity import frechet
from facesec_bench.protocols.inversion import Encoder, Private
from facesec_bench.records import Outcome, Score, Shot, Strip
from facesec_bench.seeds import generator

NAN = float("nan")
Access = ClassifierAccess | EmbeddingAccess


@dataclass(frozen=True)
class Attacked:
    """A victim as the study sees it.

    Attributes:
        title: for strips and notes.
        evaluator: name of the encoder that judges.
        access: a fresh access at the level that an attack needs.
        confidence: chips, people -> (B,) the victim's own probability of the person, or None.
        own: name of the encoder that is attacked itself, if any: there a recovery was made in the white box or asked
            for, elsewhere it is transfer.
    """

    name: str
    evaluator: str
    access: Callable[[Attack], Access]
    confidence: Callable[[Tensor, Tensor], Tensor] | None = None
    own: str | None = None


@dataclass
class Judge:
    """What stays fixed while attacks and victims change.

    Attributes:
        encoders: by name, every recogniser that looks.
        kept: what was recovered so far, should the run be stopped.
        fid: how far recoveries are from the private photos, see `fid_to`; None where the user gave no weights.
        shown: (victim, method) -> the first recovery of each person and what is said of it, for the strips.
    """

    private: Private
    public: Tensor
    targets: Mapping[str, FRTarget]
    encoders: Mapping[str, Encoder]
    detector: YuNet
    plausible: float
    samples: int
    seed: int
    device: torch.device | str
    batch_size: int
    kept: Kept
    fid: Callable[[Tensor], float] | None = None
    shown: dict[str, dict[str, tuple[Tensor, list[str]]]] = field(default_factory=dict)

    def __call__(self, method: str, attack: Attack, victim: Attacked) -> Outcome:
        """Run and judge.

        Raises:
            FacesecError: the attack cannot run on this victim.
        """
        people = torch.arange(self.private.classes).repeat_interleave(self.samples)
        found = self.kept.find(method, victim.name)
        if found is None:
            found = self._recovered(method, attack, victim, people)
            self.kept.put(method, victim.name, found)
        for note in found.notes:
            self.kept.run.note(f"{method} on {victim.name}: {note}")
        if attack.asks != "any" and not (found.queries or found.gradients):  # controls may
            self.kept.run.note(
                f"{method} on {victim.name}: it asked nothing, so its pictures are drawn and not searched for."
            )
        outcome = Outcome()
        for measure in ("queries", "gradients", "seconds"):
            each = getattr(found, measure) / len(people)
            outcome.whole_set(measure, method, victim.name, Score(each, NAN, NAN, len(people)))
        self._seen(method, victim, found.chips, people, outcome)
        return outcome

    def _recovered(self, method: str, attack: Attack, victim: Attacked, people: Tensor) -> Recovered:
        access = victim.access(attack)
        rng = generator(self.seed, "inversion", method, victim.name)
        began = time.perf_counter()
        chips = attack(people.to(self.device), access, self.public.to(self.device), rng)
        seconds = time.perf_counter() - began + access.meter.kept_seconds
        shape = (len(people), 3, CHIP_SIZE, CHIP_SIZE)
        kept = as_kept(checked(chips.detach().float().cpu(), shape, method))
        meter = access.meter
        return Recovered(kept, meter.queries, meter.gradients, seconds, tuple(meter.notes))

    def private_faces(self) -> float:
        """The share of the private photos themselves that pass for faces."""
        photos = torch.cat([self.private.taught.images, self.private.held.images])
        return float(np.mean(inversion.plausible(photos, self._confidences, self.plausible)[1]))

    def _seen(self, method: str, victim: Attacked, kept: Tensor, people: Tensor, outcome: Outcome) -> None:
        judge = self.encoders[victim.evaluator]
        embedded = {name: self._embed(name, kept) for name in self.encoders}
        verdicts = inversion.accuracy(
            self.private, judge, embedded[judge.name], people, method=method, victim=victim.name
        )
        outcome.records += verdicts
        scores, faces = inversion.plausible(kept, self._confidences, self.plausible)
        right = [r.value for r in verdicts if r.measure == "top1"]
        measures: dict[str, Sequence[float] | np.ndarray] = {
            "plausibility": scores,
            "top1_plausible": [float(hit and face) for hit, face in zip(right, faces, strict=True)],
        }
        if victim.confidence is not None:
            measures["confidence"] = victim.confidence(kept, people).numpy()
        for measure, values in measures.items():
            outcome.records += inversion.per_recovery(self.private, people, values, measure, method, victim.name)
        for name, encoder in self.encoders.items():
            by = method if name == victim.own else f"{method}@{victim.name}"
            outcome.records += inversion.acceptance(self.private, encoder, embedded[name], people, method=by)
        for measure, value in inversion.spread(self.private, judge, embedded[judge.name]).items():
            outcome.whole_set(measure, method, victim.name, Score(value, NAN, NAN, len(people)))
        if self.fid is not None:
            outcome.whole_set("fid", method, victim.name, Score(self.fid(kept), NAN, NAN, len(people)))
        cosines = (embedded[judge.name] * judge.templates(self.private)[people]).sum(1).tolist()
        said = [
            f"{cosine:.2f}, {'the person' if hit else 'somebody else'}; face {score:.2f}"
            for cosine, hit, score in zip(cosines, right, scores, strict=True)
        ]
        first = slice(0, None, self.samples)
        self.shown.setdefault(victim.name, {})[method] = kept[first], said[first]

    def _embed(self, name: str, chips: Tensor) -> Tensor:
        return embed_all(self.targets[name], chips, device=self.device, batch_size=self.batch_size)

    def _confidences(self, chips: Tensor) -> list[float]:
        pixels = (chips * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [max((face.score for face in self.detector.find(picture)), default=0.0) for picture in pixels]

    def strips(self, folder: Path, examples: int) -> list[Strip]:
        """A row for each of the first people: a private photo, then what each attack recovered."""
        strips = []
        for victim, by_method in self.shown.items():
            for person in range(min(examples, self.private.classes)):
                photo = int((self.private.taught.identities == person).nonzero()[0, 0])
                shots = [_shot(folder, victim, "private", person, self.private.taught.images[photo], "a taught photo")]
                shots += [
                    _shot(folder, victim, method, person, chips[person], said[person])
                    for method, (chips, said) in by_method.items()
                ]
                name = self.private.names[person]
                strips.append(Strip(f"inversion:{victim}", name, f"recovered from {victim}", tuple(shots)))
        return strips


def fid_to(
    private: Private, inception: Callable[[Tensor], Tensor], device: torch.device | str, batch_size: int
) -> Callable[[Tensor], float]:
    """Frechet distance of pictures (B, 3, H, W) to all private photos, in features (B, 3, H, W) -> (B, 2048)."""

    def features(chips: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([inception(few.to(device)).cpu() for few in chips.split(batch_size)])

    photos = features(torch.cat([private.taught.images, private.held.images]))
    return lambda chips: frechet(features(chips), photos)


def _shot(folder: Path, victim: str, method: str, person: int, image: Tensor, legend: str) -> Shot:
    path = folder / "images" / "inversion" / victim / method / f"{person}.png"
    as_kept(image[None], {0: path})
    return Shot("Private photo" if method == "private" else method, path.relative_to(folder).as_posix(), legend)
