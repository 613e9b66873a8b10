"""`facesec assets`: list, fetch, verify and replace the weight files. Imports nothing heavy until a command runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from facesec_bench.assets import AssetStatus, Watch

app = typer.Typer(help="The weight files: list, fetch, verify, replace.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(help="Assets by name; all when none is given.")]


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Print a FacesecError without its traceback and leave with exit code 1."""
    from facesec_bench.errors import FacesecError

    try:
        yield
    except FacesecError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


@app.command("list")
def list_() -> None:
    """Every asset: what it is, where it comes from, its licence, and whether it is in the cache."""
    from facesec_bench import assets

    with _errors_in_words():
        _print_table(assets.status(), f"Assets in {assets.cache_folder()}")


@app.command()
def fetch(
    names: Names = None,
    skip_unavailable: Annotated[
        bool, typer.Option("--skip-unavailable", help="Exit 0 when all that is missing needs npm, which is absent.")
    ] = False,
) -> None:
    """Bring assets into the cache; what is there and intact is left alone."""
    from facesec_bench import assets

    with _errors_in_words():
        try:
            with _bars() as (watch, notice):
                assets.fetch(names or (), watch, notice)
        except assets.UnavailableError as error:
            if not skip_unavailable:
                raise
            typer.echo(f"not fetched, and the targets that need it will say so: {error}", err=True)
            return
        typer.echo(f"{len(names or assets.MANIFEST)} assets are in {assets.cache_folder()}")


@app.command()
def verify(names: Names = None) -> None:
    """Hash every cached file; exit code 1 if one is missing, corrupt or outdated."""
    from facesec_bench import assets

    with _errors_in_words():
        rows = assets.verify(names or ())
    _print_table(rows, "Verified by sha256")
    if any(row.state in ("missing", "corrupt", "outdated") for row in rows):
        raise typer.Exit(1)


@app.command()
def put(
    name: Annotated[str, typer.Argument(help="The asset to replace.")],
    file: Annotated[Path, typer.Argument(help="Its original file, or with --unverified a file of your own.")],
    unverified: Annotated[bool, typer.Option("--unverified", help="Accept a file with another sha256.")] = False,
) -> None:
    """Put a file of yours in place of an asset."""
    from facesec_bench import assets

    with _errors_in_words():
        typer.echo(f"{name}: {assets.put(name, file, unverified)}")


@contextmanager
def _bars() -> Iterator[tuple[Watch, Callable[[str], None]]]:
    """Progress bars on a terminal; elsewhere only the notices, one line each."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:

        def watch(what: str, size: int) -> Callable[[int], None]:
            task = progress.add_task(what, total=size)
            return lambda done: progress.update(task, completed=done)

        def notice(line: str) -> None:
            progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield watch, notice


def _print_table(rows: list[AssetStatus], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("asset", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("download MB", justify="right")
    for heading in ("package", "licence", "for"):
        table.add_column(heading, overflow="fold")
    colours = {"cached": "green", "missing": "yellow", "corrupt": "red", "user file": "cyan", "outdated": "red"}
    for row in rows:
        state = f"[{colours[row.state]}]{row.state}[/]"
        size = f"{row.asset.archive.size / 1e6:.1f}"
        where = f"{row.asset.archive.registry} {row.asset.archive.pin}"
        table.add_row(row.asset.name, state, size, where, row.asset.licence, row.asset.purpose)
    Console().print(table)
    for row in rows:
        if row.detail:
            typer.echo(f"{row.asset.name}: {row.detail}")
