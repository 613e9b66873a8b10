"""The `facesec` command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.catalogue import entries, groups, unknown_name
from experiments.cli_assets import app as assets_app
from experiments.cli_protect import protect
from experiments.cli_semsim import app as semsim_app
from experiments.signals import end_as_by_hand
from facesec_bench.errors import FacesecError

app = typer.Typer(
    name="facesec",
    help="A research workbench for the privacy and adversarial robustness of face recognition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(assets_app, name="assets")
app.add_typer(semsim_app, name="semsim")
app.command()(protect)
console = Console()


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def run(context: typer.Context) -> None:
    """Run a study. Everything after `run` is Hydra's: experiment=evasion, -m eps_255=2,4,8, --cfg job, --help ..."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true", GIT_PYTHON_REFRESH="quiet")
    arguments = context.args
    if wrong := unknown_name(arguments):
        print(f"facesec: {wrong}", file=sys.stderr)
        raise typer.Exit(1)
    sweep = any(flag in arguments for flag in ("-m", "--multirun"))
    if sweep:
        os.environ["FACESEC_SWEEP"] = uuid.uuid4().hex[:12]
    sys.argv = ["facesec run", *arguments]
    try:
        from experiments import run as runner
    except FacesecError as error:  # a room that is not ours
        print(f"facesec: {error}", file=sys.stderr)
        raise typer.Exit(1) from None

    crashed = True
    end_as_by_hand()  # a scheduler's kill also closes the run's card
    try:
        runner.main()
        crashed = False
    except KeyboardInterrupt:
        print(
            "facesec: interrupted; the run is marked as failed. The same line runs it again; an inversion study is "
            "taken up where it was.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    finally:
        if sweep:
            # Here, as Hydra's own hook is not called after a failed job.
            for tracker in runner.trackers[-1:]:
                tracker.close_sweep(failed=crashed or bool(runner.failures))
            os.environ.pop("FACESEC_SWEEP", None)  # a later run of this process is no job of this sweep
    if runner.failures:
        raise typer.Exit(1)


@app.command("list")
def list_(
    group: Annotated[
        str | None, typer.Argument(help="target, data, evasion, experiment, ... (all if left out)")
    ] = None,
) -> None:
    """List what can be chosen, with licence and what each needs."""
    try:
        chosen = {g: entries(g) for g in ([group] if group else groups())}
    except KeyError:
        print(f"facesec: found no group {group!r}, wanted one of: {', '.join(groups())}", file=sys.stderr)
        raise typer.Exit(2) from None
    for name, found in chosen.items():
        table = Table(title=name, title_justify="left", title_style="bold", expand=False)
        for column in ("name", "what", "licence", "needs"):
            table.add_column(column, overflow="fold", no_wrap=column == "name")  # a name is there to be copied
        for entry, about in found.items():
            table.add_row(entry, *(escape(about.get(key, "")) for key in ("title", "licence", "needs")))
        console.print(table)


@app.command()
def report(
    studies: Annotated[list[str], typer.Argument(help="experiment names, run ids or run folders")],
    out: Annotated[Path | None, typer.Option(help="folder to write to")] = None,
) -> None:
    """Write one page (HTML, Markdown, LaTeX, CSV) over the runs of one or more studies."""
    from experiments.run import results_folder
    from experiments.selection import choose
    from facesec_bench.reporting import build

    results = results_folder()
    try:
        folders = choose(results / "runs", studies)
        names = [Path(study).name or study for study in studies]
        files = build(folders, out or results / "reports" / "+".join(names), ", ".join(names))
    except FacesecError as error:
        print(f"facesec: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(files.html)


@app.command()
def doctor() -> None:
    """Say what is installed, cached and missing, and how to mend it."""
    from experiments.doctor import examine

    raise typer.Exit(examine(console))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 5000,
) -> None:
    """Browse this project's runs in MLflow, on 127.0.0.1 only."""
    from experiments.run import results_folder
    from facesec_bench.tracking import store_uri

    results = results_folder()
    if not (results / "mlflow.db").exists():
        print(f"facesec: no store at {results / 'mlflow.db'} yet; a first `facesec run` makes it.", file=sys.stderr)
        raise typer.Exit(1)
    print(f"Starting MLflow (some ten seconds): http://127.0.0.1:{port}", flush=True)
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    raise typer.Exit(
        subprocess.run([*command, "--backend-store-uri", store_uri(results)], env=environment, check=False).returncode
    )


if __name__ == "__main__":
    app()
