"""From crafted photos to the rows of the 2x2 tables: mark, let a system look, read the bits, compare the pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.watermark_plan import Craft, Knowledge, Marking, Row
from facesec_bench.distortions import jpeg
from facesec_bench.errors import FacesecError
from facesec_bench.interfaces import Faces, FRTarget, Purifier, Watermark
from facesec_bench.metrics.activation import CELLS
from facesec_bench.metrics.quality import psnr
from facesec_bench.protocols import bits, watermark_activation
from facesec_bench.protocols.crafting import as_kept, craft
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.roles import Roles
from facesec_bench.protocols.verification import pairs
from facesec_bench.records import Outcome, Record, Score, Shot, Strip
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw

NAN = float("nan")
JPEG_QUALITY = 75
RECOGNISE_FIRST = "recognise_before_marking"


@dataclass(frozen=True)
class System:
    """A victim as it is deployed: recogniser, thresholds, and what stands around it.

    Attributes:
        target: whose embeddings decide.
        thresholds: false accept rate -> threshold of `target`.
        clean: (N, D) of the enrolled photos under `target`; they are enrolled as they are, without the purifier.
        purifier: every photo passes it on arrival, before it is marked or recognised.
        recognise_first: the photo is recognised before it is marked.
        detector: compares upload and marked upload; where it flags, the upload is recognised.
    """

    name: str
    victim: str
    target: FRTarget
    thresholds: dict[float, float]
    clean: Tensor
    purifier: Purifier | None = None
    recognise_first: bool = False
    detector: Any = None


@dataclass
class Judge:
    """Judges every row on identical pairs; what does not change from row to row is made once.

    Attributes:
        systems: by (defence, victim); the defence "" is the undefended victim.
        targets: every target that may be a surrogate, by name.
        examples: photos of each shown row that are kept for the report.
        failed: told of a row that could not be judged.
        made: what is the same for all craftings; `now` what is the same for all rows of the present one.
    """

    faces: Faces
    roles: Roles
    targets: dict[str, FRTarget]
    systems: dict[tuple[str, str], System]
    known: Knowledge
    far: float
    seed: int
    folder: Path
    device: torch.device | str = "cpu"
    batch_size: int = 16
    examples: int = 1
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    failed: Callable[[str], None] = print
    made: dict[tuple[str, ...], Any] = field(default_factory=dict)
    now: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __call__(self, crafted: Craft, shown: bool) -> Outcome:
        """Craft, keep, and judge one crafting in all its rows."""
        chips = craft(
            crafted.entry,
            self.faces,
            self.roles,
            crafted.kind,
            self.targets,
            seed=self.seed,
            batch_size=self.batch_size,
            device=self.device,
        )
        perturbed, outcome = as_kept(chips), Outcome()
        self.now.clear()
        for row in crafted.rows:
            part = Outcome()
            try:
                self._row(crafted, row, perturbed, part, shown and row is crafted.rows[0])
            except FacesecError as error:
                # One row that cannot be judged must not cost the others.
                self.failed(f"{row.name}: {error}")
                outcome.scores |= self.owed(crafted, row)
                continue
            outcome.records += part.records
            outcome.scores |= part.scores
            outcome.strips += part.strips
        return outcome

    def owed(self, crafted: Craft, row: Row) -> dict[str, Score]:
        """What a row owes, as NaN with n = 0: there until something was measured."""
        keys: list[str] = []
        for victim in victims_of(crafted, row):
            system = self.systems.get((row.defence, victim), self.systems["", victim])
            keys += watermark_activation.owed(
                self.roles,
                crafted.kind,
                method=label_of(crafted, row, victim),
                victim=victim,
                thresholds=system.thresholds,
                far=self.far,
            )
        return dict.fromkeys(keys, Score(NAN, NAN, NAN, 0))

    @property
    def sources(self) -> Faces:
        """The clean photos that get perturbed."""
        return self.faces.select(self.roles.sources)

    @property
    def _who(self) -> tuple[tuple[str, ...], list[str]]:
        faces = self.sources
        return faces.keys, [faces.names[i] for i in faces.identities.tolist()]

    def _row(self, crafted: Craft, row: Row, perturbed: Tensor, outcome: Outcome, shown: bool) -> None:
        victims = victims_of(crafted, row)
        once: list[Record] = []
        outcome.scores |= self.owed(crafted, row)
        for victim in victims:
            system, label = self.systems[row.defence, victim], label_of(crafted, row, victim)
            images = self._cells(system, row.marking, perturbed)
            embedded = self._embedded(system, row.marking, images)
            if system.detector is not None:
                embedded = self._checked(system, embedded, label, outcome)
            found = watermark_activation.judge(
                self.faces,
                self.roles,
                embedded,
                system.clean,
                kind=crafted.kind,
                method=label,
                victim=victim,
                thresholds=system.thresholds,
                far=self.far,
            )
            outcome.records += found + self._cost(row, victim, label, found)
            once = once or self._once(system, row, images)
            outcome.records += [r._replace(method=label, target=victim) for r in once]
            if shown and victim == victims[0]:
                outcome.strips += self._strips(system, label, crafted, images, embedded)

    def _cells(self, system: System, marking: Marking, perturbed: Tensor) -> dict[str, Tensor]:
        """The images that the system sees, cell by cell, as kept; systems that receive and mark alike share them."""
        found = {}
        for memory, upload, marked, chips in (
            (self.made, "clean", "watermarked", self.sources.images),
            (self.now, "perturbed", "both", perturbed),
        ):
            if ("images", *_arrival(system, marking), marking) not in memory:
                arrived = self._arrived(system, marking, chips)
                memory["images", *_arrival(system, marking), marking] = arrived, self._marked(marking, arrived, upload)
            found[upload], found[marked] = memory["images", *_arrival(system, marking), marking]
        return {cell: found[cell] for cell in CELLS}

    def _arrived(self, system: System, marking: Marking, chips: Tensor) -> Tensor:
        if marking == "jpeg_before_marking":  # in all four cells, or JPEG's own effect would pass for the mark's
            chips = jpeg(chips, JPEG_QUALITY)
        if system.purifier is None:
            return chips
        with torch.no_grad():
            return as_kept(system.purifier(chips.to(self.device)).cpu())

    def _marked(self, marking: Marking, chips: Tensor, which: str) -> Tensor:
        if marking == "gaussian_residual":
            deployed = self._marked("deployed", chips, which)
            strength = torch.from_numpy(psnr(deployed.numpy(), chips.numpy()))
            return bits.gaussian_residual(chips, strength, generator(self.seed, "watermark", "gaussian", which))
        watermark, messages = self.carrier(marking)
        return bits.keep_marked(watermark, chips, messages, batch_size=self.batch_size, device=self.device)

    def carrier(self, marking: Marking) -> tuple[Watermark, Tensor]:
        """Who marks, and with which messages, (S, L)."""
        if marking == "other_watermarker":
            rng = generator(self.seed, "watermark", "other watermarker")
            return self.known.other, draw(len(self.roles.sources), self.known.other.bits, rng)
        if marking == "other_message":
            rng = generator(self.seed, "watermark", "other message")
            return self.known.watermark, draw(len(self.roles.sources), self.known.watermark.bits, rng)
        return self.known.watermark, torch.stack([self.known.messages[key] for key in self.sources.keys])

    def _embedded(self, system: System, marking: Marking, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for cell in CELLS:
            seen = {"watermarked": "clean", "both": "perturbed"}.get(cell, cell) if system.recognise_first else cell
            memory = self.made if seen in ("clean", "watermarked") else self.now
            by = _arrival(system, marking) if seen in ("clean", "perturbed") else (*_arrival(system, marking), marking)
            key = ("embedded", system.target.name, system.victim, seen, *by)
            if key not in memory:
                memory[key] = self._embed(system, images[seen])
            found[cell] = memory[key]
        return found

    def _embed(self, system: System, images: Tensor) -> Tensor:
        return embed_all(system.target, images, device=self.device, batch_size=self.batch_size)

    def _checked(self, system: System, embedded: dict[str, Tensor], label: str, outcome: Outcome) -> dict[str, Tensor]:
        """The cells behind the consistency check, and the records of what it flagged."""
        keys, names = self._who
        flags = {}
        for marked, upload, measure in (("watermarked", "clean", "false_alarm"), ("both", "perturbed", "detection")):
            flags[marked] = system.detector.flags((embedded[marked] * embedded[upload]).sum(dim=1))
            outcome.records += [
                Record(key, who, label, system.victim, measure, float(flag))
                for key, who, flag in zip(keys, names, flags[marked], strict=True)
            ]
        return watermark_activation.with_fallback(embedded, flags["watermarked"], flags["both"])

    def _cost(self, row: Row, victim: str, label: str, found: list[Record]) -> list[Record]:
        """What the defence costs clean accuracy, pair by pair: "tar_cost"."""
        rates = {r.key: r for r in found if r.measure == "tar_clean"}
        if not row.defence:
            if row.marking == "deployed":  # a control may change the clean photos too
                self.made.setdefault(("tar_clean", victim), {}).update({key: r.value for key, r in rates.items()})
            return []
        plain = self.made.get(("tar_clean", victim))
        if not plain:  # the undefended row failed, and said so
            return []
        return [r._replace(measure="tar_cost", value=plain[key] - r.value) for key, r in rates.items()]

    def _once(self, system: System, row: Row, images: Mapping[str, Tensor]) -> list[Record]:
        """What does not depend on the victim: quality and bits, each measured once for the same pixels."""
        same = (*_arrival(system, row.marking), row.marking)
        records = [
            *self._quality(("quality", *same), self.made, "watermarked", images),
            *self._quality(("quality", *_arrival(system, row.marking)), self.now, "perturbed", images),
            *self._quality(("quality", *same, "both"), self.now, "both", images),
        ]
        if row.marking == "gaussian_residual":
            return records  # nothing was written, so nothing can be read
        bits_of = ("bits", *same, str(row.health))
        return [
            *records,
            *self._bits(bits_of, self.made, "watermarked", row, images),
            *self._bits(bits_of, self.now, "both", row, images),
        ]

    def _bits(
        self,
        key: tuple[str, ...],
        memory: dict[tuple[str, ...], Any],
        cell: str,
        row: Row,
        images: Mapping[str, Tensor],
    ) -> list[Record]:
        if key not in memory:
            watermark, messages = self.carrier(row.marking)
            memory[key] = bits.health(
                watermark,
                images,
                messages,
                *self._who,
                method="",
                victim="",
                seed=self.seed,
                batch_size=self.batch_size,
                device=self.device,
                cells=(cell,),
                after=tuple(bits.DISTORTIONS) if row.health else ("",),
            )
        return list(memory[key])

    def _quality(
        self, key: tuple[str, ...], memory: dict[tuple[str, ...], Any], cell: str, images: Mapping[str, Tensor]
    ) -> list[Record]:
        if key not in memory:
            memory[key] = watermark_activation.fidelity_records(
                images,
                self.sources.images,
                *self._who,
                method="",
                victim="",
                lpips=self.lpips,
                device=self.device,
                cells=(cell,),
            )
        return list(memory[key])

    def _strips(
        self,
        system: System,
        label: str,
        crafted: Craft,
        images: Mapping[str, Tensor],
        embedded: Mapping[str, Tensor],
    ) -> list[Strip]:
        """The first photos in all four cells, with what the system says of each."""
        judges = dict(reversed(pairs(self.roles, self.faces, crafted.kind)))  # the first judge of each source wins
        threshold, strips = system.thresholds[self.far], []
        whom = "the person" if crafted.kind == "dodge" else "the target"
        for i in range(min(self.examples, len(self.roles.sources))):
            shots = []
            for cell in CELLS:
                path = self.folder / "images" / label / system.victim / cell / f"{i}.png"
                as_kept(images[cell][i : i + 1], {0: path})
                cosine = float(embedded[cell][i] @ system.clean[judges[i]])
                verdict = f"accepted as {whom}" if cosine >= threshold else f"not accepted as {whom}"
                shots.append(
                    Shot(cell.capitalize(), path.relative_to(self.folder).as_posix(), f"{cosine:.3f}: {verdict}")
                )
            detail = f"{self.sources.keys[i]} · threshold {threshold:.3f}"
            strips.append(Strip("activation", f"{label} against {system.victim}", detail, tuple(shots)))
        return strips


def _arrival(system: System, marking: Marking) -> tuple[str, str]:
    """What happens to a photo before it is recognised or marked; equal ones give equal pixels."""
    return (system.purifier.name if system.purifier else "", str(marking == "jpeg_before_marking"))


def victims_of(crafted: Craft, row: Row) -> tuple[str, ...]:
    """Who judges a row: all victims of an attack, and of a control that attacks nobody; otherwise the first."""
    everyone = row.role == "attack" or not crafted.entry.surrogates
    return crafted.entry.victims if everyone else crafted.entry.victims[:1]


def label_of(crafted: Craft, row: Row, victim: str) -> str:
    """The method column of a record; only attacks have surrogates after an @."""
    if row.role != "attack" or crafted.entry.surrogates in ((), (victim,)):
        return row.name
    return f"{row.name}@{'+'.join(crafted.entry.surrogates)}"
