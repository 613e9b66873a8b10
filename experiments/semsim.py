"""SemSim trained on people's answers: triplets, steps, checkpoints."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Adam

from experiments.semsim_answers import Answer, Pictures, picture
from facesec_bench import seeds, trained, training
from facesec_bench.data.splits import disjoint
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.files import write_atomically
from facesec_bench.perception import semsim as networks
from facesec_bench.perception.semsim import SemSimNet, read_record, save_semsim, triplet_loss
from facesec_bench.progress import track


@dataclass(frozen=True)
class Course:
    """How to train.

    Attributes:
        side: pixels a side of the pictures.
        steps, batch, learning_rate: of Adam, triplets a step.
        saved_every: steps between two checkpoints, from which an interrupted training goes on.
        held_out: share of the originals, with all their recoveries, that is only judged; 0 for none.
    """

    side: int = 64
    steps: int = 1000
    batch: int = 16
    learning_rate: float = 3e-4
    saved_every: int = 200
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.saved_every) < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"semsim: found steps {self.steps}, batch {self.batch}, saved_every {self.saved_every} and learning "
                f"rate {self.learning_rate}, wanted all above 0."
            )
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"semsim: found held_out={self.held_out}, wanted 0 or more and below 1.")


class Lesson(NamedTuple):
    """What triplets are drawn from: pictures as (N, 3, side, side) uint8, and rows of them for each original."""

    images: Tensor
    anchors: tuple[int, ...]
    positives: tuple[tuple[int, ...], ...]
    negatives: tuple[tuple[int, ...], ...]


def train(
    answers: Pictures,
    out: Path,
    course: Course,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train SemSim on the answers and write `out`; the same answers, course and seed give the same weights.

    Where `out` holds weights of just this training, nothing is done. An interrupted training goes on from its last
    checkpoint, beside `out`, and ends in the same bits as one that was not interrupted.

    Returns:
        The record written with the weights.

    Raises:
        ConfigError: `out` holds other weights and `force` is not given.
        DataError: no recovery that was recognised, or none that was not, or too few originals to hold some out.
    """
    taught = _taught(answers, course.held_out, seed)
    recipe = {**asdict(course), "seed": seed, "answers": answers.digest, "code": _code(), "torch": torch.__version__}
    if out.exists() and not force:
        record = read_record(out)
        if record.get("recipe") == recipe:
            return record
        raise ConfigError(f"{out} holds weights of another training; give another file, or --force to replace them.")
    network = SemSimNet(course.side, seeds.derive(seed, "semsim", "start")).to(device)
    lesson = lesson_of([a for a, o in zip(answers.answers, answers.originals, strict=True) if o in taught], network)
    curve = _practise(network, lesson, course, seed, out.with_suffix(".partial.safetensors"), recipe, progress)
    record = {
        "recipe": recipe,
        "steps": course.steps,
        "loss": curve[-1].loss if curve else None,
        "taught": sorted(taught),
        "recognised": sum(len(rows) for rows in lesson.positives),
        "unrecognised": sum(len(rows) for rows in lesson.negatives),
        "anchor": "original",
        "normalised": "in training and in scoring",
        "margin": networks.MARGIN,
    }
    save_semsim(out, network, record)
    out.with_suffix(".partial.safetensors").unlink(missing_ok=True)
    return read_record(out)


def lesson_of(answers: Sequence[Answer], network: SemSimNet) -> Lesson:
    """Pictures and rows. More than half must have recognised a positive and fewer a negative; ties teach nothing.

    Raises:
        DataError: nothing to tell apart.
    """
    rows: dict[Path, int] = {}
    sorted_by: dict[Path, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for answer in answers:
        if answer.share != 0.5:
            sorted_by[answer.original][0 if answer.share > 0.5 else 1].append(answer.reconstruction)
    known, unknown = (sum(len(pair[side]) for pair in sorted_by.values()) for side in (0, 1))
    if not known or not unknown:
        raise DataError(f"semsim: found {known} recognised and {unknown} other recoveries to learn from, wanted both.")
    for original, pair in sorted_by.items():
        for path in (original, *pair[0], *pair[1]):
            rows.setdefault(path, len(rows))
    images = [network.resize(picture(path)[None])[0] for path in track(rows, "Reading pictures", total=len(rows))]
    return Lesson(
        (torch.stack(images) * 255).round().to(torch.uint8),
        tuple(rows[original] for original in sorted_by),
        tuple(tuple(rows[path] for path in pair[0]) for pair in sorted_by.values()),
        tuple(tuple(rows[path] for path in pair[1]) for pair in sorted_by.values()),
    )


def triplets(lesson: Lesson, count: int, rng: torch.Generator) -> Tensor:
    """(count, 3) rows of anchor, positive and negative.

    Any original with a recognised recovery is as likely as another. The negative is an unrecognised recovery of the
    same original; of any original where it has none.
    """
    able = [i for i, positives in enumerate(lesson.positives) if positives]
    everyone = tuple(row for rows in lesson.negatives for row in rows)

    def one(rows: Sequence[int]) -> int:
        return rows[int(torch.randint(len(rows), (), generator=rng))]

    chosen = [one(able) for _ in range(count)]
    return torch.tensor(
        [[lesson.anchors[i], one(lesson.positives[i]), one(lesson.negatives[i] or everyone)] for i in chosen]
    )


def _practise(
    network: SemSimNet,
    lesson: Lesson,
    course: Course,
    seed: int,
    checkpoint: Path,
    recipe: dict[str, Any],
    progress: Callable[[int, int], None] | None,
) -> list[training.Point]:
    """`training.fit` in stretches of `saved_every` steps, each with its own stream of triplets and saved at its end."""
    done, moments = _resumed(network, checkpoint, recipe)
    device = next(network.parameters()).device
    curve: list[training.Point] = []
    while done < course.steps:
        rules: list[Adam] = []

        def optimiser(
            parameters: list[torch.nn.Parameter], rules: list[Adam] = rules, moments: dict[str, Tensor] = moments
        ) -> Adam:
            rules.append(Adam(parameters, course.learning_rate))
            if moments:
                rules[0].load_state_dict({**rules[0].state_dict(), "state": _nested(moments)})
            return rules[0]

        def batches(step: int, rng: torch.Generator) -> Tensor:
            return lesson.images[triplets(lesson, course.batch, rng).T.flatten()].to(device).float() / 255

        def loss(images: Tensor) -> Tensor:
            anchors, positives, negatives = network(images).chunk(3)
            return triplet_loss(anchors, positives, negatives)

        def told(now: int, _: int, before: int = done) -> None:
            if progress:
                progress(before + now, course.steps)

        steps = min(course.saved_every, course.steps - done)
        curve += training.fit(
            network,
            batches,
            loss,
            optimiser=optimiser,
            steps=steps,
            rng=seeds.generator(seed, "semsim", "practice", done),
            every=steps,
            progress=told,
        )
        done += steps
        moments = _flat(rules[0].state_dict()["state"])
        if done < course.steps:
            _save_checkpoint(checkpoint, network, moments, {"recipe": recipe, "done": done})
    return curve


def _taught(answers: Pictures, held_out: float, seed: int) -> frozenset[str]:
    """The originals to learn from, by the hash of their files."""
    if held_out == 0:
        return frozenset(answers.originals)
    roles = disjoint(set(answers.originals), {"taught": 1 - held_out, "judged": held_out}, seed)
    return frozenset(original for original, role in roles.items() if role == "taught")


def _code() -> str:
    return trained.code_digest(lesson_of, triplets, _practise, _taught, networks, training, seeds, disjoint)


def _save_checkpoint(path: Path, network: SemSimNet, moments: dict[str, Tensor], about: dict[str, Any]) -> None:
    weights = {f"net.{name}": tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    kept = {f"adam.{name}": tensor.cpu().contiguous() for name, tensor in moments.items()}
    write_atomically(path, save({**weights, **kept}, metadata={"semsim_partial": json.dumps(about, sort_keys=True)}))


def _resumed(network: SemSimNet, path: Path, recipe: dict[str, Any]) -> tuple[int, dict[str, Tensor]]:
    """(steps done, Adam's state), the network filled; (0, {}) where there is no checkpoint of this very training."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("semsim_partial", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):  # none, or damaged: begin anew
        return 0, {}
    if about.get("recipe") != recipe:
        return 0, {}
    network.load_state_dict({name[4:]: tensor for name, tensor in tensors.items() if name.startswith("net.")})
    return int(about["done"]), {name[5:]: tensor for name, tensor in tensors.items() if name.startswith("adam.")}


def _flat(state: dict[int, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{index}.{name}": tensor for index, held in state.items() for name, tensor in held.items()}


def _nested(moments: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    state: dict[int, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in moments.items():
        index, name = key.split(".")
        state[int(index)][name] = tensor
    return dict(state)
