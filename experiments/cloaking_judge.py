"""From one crafting to the rows of a cloaking study: keep, distort, let every held-out recogniser look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.protocols import cloaking, fidelity, identification
from facesec_bench.protocols.crafting import Entry, GoalName, as_kept, craft
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.protocols.evasion import Evaluation
from facesec_bench.protocols.verification import MEASURE, pairs
from facesec_bench.records import Outcome, Record, Score, Shot, Strip

NAN = float("nan")


class Untouched:
    """The row "clean": the photo without a cloak, judged like every cloak."""

    eps_255: float | None = None

    def __call__(self, faces: Faces, aim: Aim, surrogates: Sequence[FRTarget], rng: torch.Generator) -> Tensor:
        """The photos, see `interfaces.Evasion`."""
        return faces.images


@dataclass(frozen=True)
class Judge:
    """Judges every crafting on identical pairs.

    Attributes:
        fixed: faces, roles, victims with their thresholds, clean embeddings.
        folder: the run's; strips leave their images below it.
        examples: strips of each shown crafting and goal.
    """

    fixed: Evaluation
    folder: Path
    examples: int = 1

    def __call__(self, entry: Entry, kind: GoalName, shown: str | None = None) -> tuple[Tensor, Outcome]:
        """(the kept cloaks, (S, 3, 224, 224) on the CPU; all that is said of them).

        Args:
            shown: the victim whose verdicts stand below the pictures, or None for no pictures.
        """
        e, outcome = self.fixed, Outcome()
        kept = as_kept(
            craft(entry, e.faces, e.roles, kind, e.targets, seed=e.seed, batch_size=e.batch_size, device=e.device)
        )
        once = self._quality(entry, kind, kept)  # the pixels are the same whoever judges
        for victim in entry.victims:
            embedded = self._embed(victim, kept)
            outcome.records += [record._replace(target=victim) for record in once]
            self._verdicts(entry, kind, victim, embedded, outcome)
            if victim == shown:
                outcome.strips += self._strips(entry, kind, victim, kept, embedded)
        for suffix in cloaking.DISTORTIONS:
            self._distorted(entry, kind, suffix, kept, outcome)
        return kept, outcome

    @property
    def who(self) -> tuple[tuple[str, ...], list[str]]:
        """Keys and identities of the sources."""
        return self.fixed.sources.keys, self.fixed.source_names

    def _embed(self, victim: str, images: Tensor) -> Tensor:
        e = self.fixed
        return embed_all(e.targets[victim], images, device=e.device, batch_size=e.batch_size)

    def _distorted(self, entry: Entry, kind: GoalName, suffix: str, kept: Tensor, outcome: Outcome) -> None:
        """All victims look at one distortion, a batch at a time: hundreds of photos have no room for five copies."""
        e, change = self.fixed, cloaking.DISTORTIONS[suffix]
        parts: dict[str, list[Tensor]] = {victim: [] for victim in entry.victims}
        for batch in kept.split(e.batch_size):
            images = change(batch, e.seed)
            for victim, seen in parts.items():
                seen.append(self._embed(victim, images))
        for victim, seen in parts.items():
            found = self._success(entry, kind, victim, torch.cat(seen))
            outcome.records += cloaking.only_psr(found, kind, f"{MEASURE[kind]}_psr{suffix}")

    def _success(self, entry: Entry, kind: GoalName, victim: str, embedded: Tensor) -> list[Record]:
        e = self.fixed
        return cloaking.success(
            e.faces,
            e.roles,
            kind,
            embedded,
            e.clean[victim],
            method=entry.method,
            victim=victim,
            threshold=e.thresholds[victim],
        )

    def _verdicts(self, entry: Entry, kind: GoalName, victim: str, embedded: Tensor, outcome: Outcome) -> None:
        e, clean = self.fixed, self.fixed.clean[victim]
        sources, name = clean[list(e.roles.sources)], entry.method
        keys = [f"{kind}:{key}" for key in self.who[0]]
        outcome.records += [
            *self._success(entry, kind, victim, embedded),
            *cloaking.identified(e.faces, e.roles, kind, embedded, clean, method=name, victim=victim),
            *identification.judge(e.faces, e.roles, kind, embedded, clean, method=name, victim=victim),
            *cloaking.likeness(embedded, sources, keys, self.who[1], method=name, victim=victim),
        ]
        if kind == "dodge":
            for measure, online in zip(cloaking.PROTECTION, (sources, embedded), strict=False):
                outcome.records += cloaking.protection(
                    e.faces, e.roles, online, clean, measure=measure, method=name, victim=victim
                )
        distance = Score(fidelity.frechet(embedded, sources), NAN, NAN, len(embedded))
        outcome.whole_set(f"frechet_fr_{MEASURE[kind]}", name, victim, distance)

    def _quality(self, entry: Entry, kind: GoalName, kept: Tensor) -> list[Record]:
        """Distances to the source, under both goals together; LPIPS by goal too, as methods spend it unevenly."""
        e = self.fixed
        keys = [f"{kind}:{key}" for key in self.who[0]]
        found = fidelity.judge(
            kept,
            e.sources.images,
            keys,
            self.who[1],
            method=entry.method,
            victim="",
            lpips=e.lpips,
            device=e.device,
            batch_size=e.batch_size,
        )
        return found + [r._replace(measure=f"lpips_{MEASURE[kind]}") for r in found if r.measure == "lpips"]

    def _strips(self, entry: Entry, kind: GoalName, victim: str, kept: Tensor, embedded: Tensor) -> list[Strip]:
        """The first photos before and after, with what the held-out recogniser says of each."""
        e, clean, threshold = self.fixed, self.fixed.clean[victim], self.fixed.thresholds[victim]
        judges = dict(reversed(pairs(e.roles, e.faces, kind)))  # the first judge of each source wins
        whom = "the person" if kind == "dodge" else "the target"
        strips = []
        for i in range(min(self.examples, len(kept))):
            source = e.roles.sources[i]
            seen = {"Source": (e.faces.images[source], clean[source]), "Cloak": (kept[i], embedded[i])}
            shots = []
            for column, (image, embedding) in seen.items():
                path = self.folder / "images" / entry.method / victim / kind / f"{i}_{column.lower()}.png"
                as_kept(image[None], {0: path})
                cosine = float(embedding @ clean[judges[i]])
                verdict = f"accepted as {whom}" if cosine >= threshold else f"not accepted as {whom}"
                shots.append(Shot(column, path.relative_to(self.folder).as_posix(), f"{cosine:.3f}: {verdict}"))
            detail = f"{self.who[0][i]} · threshold {threshold:.3f}"
            strips.append(Strip("cloak", f"{entry.method} against {victim}, {MEASURE[kind]}", detail, tuple(shots)))
        return strips
