"""`facesec semsim`: train the measure on people's answers, use it, and see whether it agrees with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from facesec_bench.metrics.rank_correlation import Agreement

app = typer.Typer(
    help="SemSim, a measure of recoveries learned from people: train, score, judge.", no_args_is_help=True
)

Answers = Annotated[
    Path, typer.Argument(help="CSV with original, reconstruction, recognised (0 or 1) and, if wanted, group")
]
Weights = Annotated[Path | None, typer.Option(help="the file that `facesec semsim train` wrote")]
Seed = Annotated[int, typer.Option(help="decides every random draw")]


@contextmanager
def _errors_in_words() -> Iterator[None]:
    from facesec_bench.errors import FacesecError

    try:
        yield
    except FacesecError as error:
        typer.echo(f"facesec: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("facesec: interrupted; the same command goes on from the last checkpoint.", err=True)
        raise typer.Exit(130) from None


@app.command()
def train(
    answers: Answers,
    out: Annotated[Path, typer.Option(help="the weights to write (.safetensors)")],
    steps: Annotated[int, typer.Option(help="steps of the training")] = 1000,
    side: Annotated[int, typer.Option(help="pixels a side of the pictures")] = 64,
    held_out: Annotated[float, typer.Option(help="share of the originals kept for `judge`")] = 0.2,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="replace weights of another training")] = False,
) -> None:
    """Train SemSim. Interrupted, the same command goes on where it was."""
    with _errors_in_words():
        from experiments import semsim
        from experiments.semsim_answers import identify, read_answers
        from experiments.session import pick_device
        from facesec_bench.progress import track

        course = semsim.Course(side=side, steps=steps, held_out=held_out)
        bar = iter(track(range(steps), "Training SemSim"))

        def progress(done: int, steps: int) -> None:
            next(bar, None)

        record = semsim.train(
            identify(read_answers(answers)),
            out,
            course,
            seed,
            device=pick_device(device),
            force=force,
            progress=progress,
        )
    typer.echo(
        f"{out}: learned from {record['recognised']} recognised and {record['unrecognised']} other recoveries of "
        f"{len(record['taught'])} originals."
    )


@app.command()
def score(
    pairs: Annotated[Path, typer.Argument(help="CSV with the columns original and reconstruction")],
    weights: Weights = None,
) -> None:
    """The mean distance of originals and recoveries; lower means that people recognise more, so more leaks."""
    with _errors_in_words():
        import torch

        from experiments.semsim_answers import picture, read_answers
        from facesec_bench.perception.semsim import SemSim

        measure = SemSim(None if weights is None else str(weights))
        listed = read_answers(pairs, answered=False)
        with torch.no_grad():
            found = [float(measure(*(picture(path)[None] for path in pair[:2]))) for pair in listed]
    typer.echo(f"SemSim {sum(found) / len(found):.4f}, mean of {len(found)} pairs; weights {measure.digest[:12]}")


@app.command()
def judge(
    answers: Answers,
    weights: Weights = None,
    lpips: Annotated[bool, typer.Option(help="also LPIPS (asset lpips_alex)")] = True,
    out: Annotated[Path | None, typer.Option(help="a JSON file with all of it")] = None,
    seed: Seed = 0,
) -> None:
    """Rank correlations of SemSim, PSNR, SSIM, MSE and LPIPS with the share of people who recognised."""
    with _errors_in_words():
        from experiments.semsim_agreement import compare
        from experiments.semsim_answers import identify, read_answers
        from facesec_bench.perception.lpips import LPIPS
        from facesec_bench.perception.semsim import SemSim

        measure = SemSim(None if weights is None else str(weights))
        found = compare(identify(read_answers(answers)), measure, lpips=LPIPS() if lpips else None, seed=seed)
        if out:
            found.write(out)
    for unit, agreements in found.agreements.items():
        _table(unit, agreements)
    typer.echo(
        f"{found.recoveries} recoveries; {found.left_out} more left out, as SemSim learned from their originals. "
        "1 is perfect agreement: distances have their sign turned. In brackets 95 % intervals."
    )


def _table(unit: str, agreements: dict[str, Agreement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Agreement with people, by {unit}", title_justify="left")
    for heading in ("measure", "Spearman", "Pearson", "Kendall", "n"):
        table.add_column(heading, no_wrap=heading == "measure")
    for measure, found in agreements.items():
        cells = [f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]".replace("nan", "-") for s in found]
        table.add_row(measure, *(cell.replace("[", "\\[") for cell in cells), str(found.spearman.n))
    Console().print(table)
