"""Train the watermarker `hidden` on a data set's chips; judged on people it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from experiments import hidden_batches
from facesec_bench import distortions, seeds, trained, training
from facesec_bench.data import Dataset
from facesec_bench.data.splits import disjoint
from facesec_bench.errors import ConfigError
from facesec_bench.interfaces import Faces, FRTarget
from facesec_bench.metrics import bits as bit_metrics
from facesec_bench.metrics.quality import psnr, ssim
from facesec_bench.metrics.scores import summarise
from facesec_bench.progress import track
from facesec_bench.protocols.bits import health, keep_marked
from facesec_bench.protocols.crafting import as_kept
from facesec_bench.protocols.embedding import embed_all
from facesec_bench.records import Outcome, Record, Score
from facesec_bench.runs import Run
from facesec_bench.training import Point
from facesec_bench.watermarks import hidden as networks
from facesec_bench.watermarks.hidden import Hidden, Networks
from facesec_bench.watermarks.messages import draw

NAME = "hidden"
WATCHED = 40
"""Held-out chips that are watched during the training; the final figures are of all of them."""


@dataclass(frozen=True)
class Design:
    """How to train.

    Attributes:
        bits: length of a message.
        rms_255: limit of the mark's root mean square in grey levels of 255; 2 is 42.1 dB.
        peak_255: limit of a pixel's change.
        steps, batch_size, learning_rate: of AdamW with a one-cycle rate.
        every: steps between two points of the curve.
        held_out: share of the identities that are only judged.
    """

    bits: int = 32
    rms_255: float = 2.0
    peak_255: float = 8.0
    steps: int = 600
    batch_size: int = 8
    learning_rate: float = 2e-3
    every: int = 50
    held_out: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.every < 1 or not self.learning_rate > 0:
            raise ConfigError(
                f"train_hidden: found steps = {self.steps}, batch_size = {self.batch_size}, every = {self.every} and "
                f"learning_rate = {self.learning_rate}, wanted all above 0."
            )


def train_hidden(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    *,
    design: Design,
    device: torch.device | str = "cpu",
) -> Outcome:
    """Train, store the weights in the cache, and judge them as stored on held-out identities.

    Scores: the curve as "training_<measure>_step<N>/hidden/hidden"; at the end bit accuracy and exact messages, as kept
    and after distortions, PSNR and SSIM of the marked photo, and for each target the cosine of a photo and its marked
    self ("similarity_to_unmarked/hidden/<target>").

    Raises:
        DataError: too few identities to hold some out.
        TrainingError: the loss left the finite numbers.
    """
    taught, unseen = split(dataset.faces, design.held_out, run.seed)
    recipe = recipe_of(design, dataset, run.seed)
    run.card.threat_model = ["No attack: a watermarker is trained on some people's chips and judged on others'."]
    about = {"title": "HiDDeN-style watermarker, trained here", "source": "Zhu et al., ECCV 2018"}
    run.card.methods[NAME] = {**about, "eps_255": None, "norm": "none", "role": "training", "config": asdict(design)}
    if trained.load(NAME, recipe) is None:
        with run.stage("training"):
            model, curve = trained_networks(design, taught, unseen, run.seed, device)
        trained.store(NAME, recipe, halved(model), curve)
    else:
        run.note("These weights were trained before under the same recipe: the curve and its time are that training's.")
    path = trained.path(NAME, recipe)
    run.note(f"Weights: {path.name} in the folder `trained` of the asset cache; use: watermark.weights=FILE")
    watermark = Hidden(str(path)).to(device)
    outcome = Outcome()
    add_curve(outcome, trained.load_curve(NAME, recipe), len(unseen))
    with run.stage("judging"):
        outcome.records += judged(watermark, unseen, targets, run.seed, device)
    outcome.scores |= summarise(outcome.records, run.seed)
    return outcome


def split(faces: Faces, held_out: float, seed: int) -> tuple[Faces, Faces]:
    """Faces to learn from and faces to judge on, of different people."""
    names = sorted({faces.names[i] for i in faces.identities.tolist()})
    roles = disjoint(names, {"taught": 1 - held_out, "unseen": held_out}, seed)
    rows: dict[str, list[int]] = {"taught": [], "unseen": []}
    for row, identity in enumerate(faces.identities.tolist()):
        rows[roles[faces.names[identity]]].append(row)
    return faces.select(rows["taught"]), faces.select(rows["unseen"])


def recipe_of(design: Design, dataset: Dataset, seed: int) -> dict[str, Any]:
    """All that decides the weights; of this file, what trains and not what judges."""
    code = trained.code_digest(
        split, trained_networks, halved, hidden_batches, networks, training, distortions, seeds, disjoint, draw
    )
    return {**asdict(design), "seed": seed, "data": dataset.digest, "code": code, "torch": torch.__version__}


def trained_networks(
    design: Design, taught: Faces, unseen: Faces, seed: int, device: torch.device | str
) -> tuple[Networks, list[Point]]:
    """The networks and their curve."""
    with torch.random.fork_rng():
        torch.manual_seed(seeds.derive(seed, "hidden", "start"))
        model = Networks(design.bits, design.rms_255, design.peak_255).to(device)
    practice = hidden_batches.Practice(taught.images, design.bits, design.batch_size, design.steps, device=device)
    some = torch.linspace(0, len(unseen) - 1, min(WATCHED, len(unseen))).long()
    chips = unseen.images[some]
    messages = draw(len(chips), design.bits, seeds.generator(seed, "hidden", "watched"))

    def loss(lesson: hidden_batches.Lesson) -> Tensor:
        marked = model.encoder(lesson.chips, lesson.messages, lesson.louder)
        scores = model.decoder(lesson.distortion(marked))
        return functional.binary_cross_entropy_with_logits(scores, lesson.messages)

    bar = iter(track(range(design.steps), "Training hidden"))

    def progress(done: int, steps: int) -> None:
        next(bar, None)

    curve = training.fit(
        model,
        practice,
        loss,
        optimiser=lambda parameters: torch.optim.AdamW(parameters, lr=design.learning_rate, weight_decay=1e-4),
        schedule=lambda rule: torch.optim.lr_scheduler.OneCycleLR(
            rule, design.learning_rate, total_steps=design.steps, pct_start=0.15
        ),
        clip_norm=1.0,
        steps=design.steps,
        rng=seeds.generator(seed, "hidden", "practice"),
        every=design.every,
        watch=lambda _: watched(model, chips, messages, device),
        progress=progress,
    )
    return model, curve


def halved(model: Networks) -> dict[str, Tensor]:
    """The weights at half precision, as they are stored."""
    return {name: tensor.half() for name, tensor in model.state_dict().items()}


def watched(model: Networks, chips: Tensor, messages: Tensor, device: torch.device | str) -> dict[str, float]:
    """Bit accuracy as kept and after JPEG 75, and PSNR, of held-out chips."""

    def decoded(images: Tensor) -> float:
        scores = torch.cat([model.decoder(part.to(device)).cpu() for part in images.split(16)])
        return float(bit_metrics.accuracy(scores.double().numpy(), messages.numpy()).mean())

    pairs = zip(chips.split(16), messages.split(16), strict=True)
    kept = as_kept(torch.cat([model.encoder(x.to(device), m.to(device)).cpu() for x, m in pairs]))
    return {
        "bit_accuracy": decoded(kept),
        "bit_accuracy_jpeg75": decoded(distortions.jpeg(kept, 75)),
        "psnr": float(psnr(kept.numpy(), chips.numpy()).mean()),
    }


def add_curve(outcome: Outcome, curve: trained.Curve, n: int) -> None:
    """Put the curve among the scores and records; the step is part of the measure's name."""
    for step, loss, measures in curve:
        for measure, value in {"loss": loss, **measures}.items():
            score = Score(value, float("nan"), float("nan"), min(n, WATCHED))
            outcome.whole_set(f"training_{measure}_step{step}", NAME, NAME, score)


def judged(
    watermark: Hidden, faces: Faces, targets: Mapping[str, FRTarget], seed: int, device: torch.device | str
) -> list[Record]:
    """One record a held-out photo and measure."""
    messages = draw(len(faces), watermark.bits, seeds.generator(seed, "hidden", "judged"))
    kept = keep_marked(watermark, faces.images, messages, device=device)
    people = [faces.names[i] for i in faces.identities.tolist()]
    columns = {
        ("psnr_watermarked", NAME): psnr(kept.numpy(), faces.images.numpy()),
        ("ssim_watermarked", NAME): ssim(kept.numpy(), faces.images.numpy()),
    }
    for name, target in targets.items():
        before, after = (embed_all(target, images, device=device) for images in (faces.images, kept))
        columns["similarity_to_unmarked", name] = (before * after).sum(dim=1).numpy()
    told: dict[str, Any] = {"method": NAME, "victim": NAME, "seed": seed, "device": device}
    return health(watermark, {"watermarked": kept}, messages, faces.keys, people, cells=("watermarked",), **told) + [
        Record(key, person, NAME, victim, measure, float(value))
        for (measure, victim), values in columns.items()
        for key, person, value in zip(faces.keys, people, values, strict=True)
    ]
