"""`facesec protect`: a user's own photos, cloaked and judged. Imports nothing heavy until it runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.catalogue import CONF
from experiments.signals import end_as_by_hand
from facesec_bench.errors import AssetError, FacesecError

METHOD = "clip2protect" if (CONF / "evasion" / "clip2protect.yaml").is_file() else "mi_di_ti"


class Goal(StrEnum):
    """What the cloak is for."""

    dodge = "dodge"
    impersonate = "impersonate"


class Exif(StrEnum):
    """What becomes of the metadata."""

    keep = "keep"
    drop = "drop"


class Kind(StrEnum):
    """The format that is written."""

    keep = "keep"
    png = "png"


def protect(
    photos: Annotated[Path, typer.Argument(metavar="PHOTO_OR_FOLDER", help="a photo, or a folder of photos")],
    out: Annotated[Path, typer.Option(help="folder for the protected photos and protect.json")],
    prompt: Annotated[str | None, typer.Option(help="makeup in words, for methods that are led by words")] = None,
    goal: Annotated[Goal, typer.Option(help="not to be recognised, or to be taken for another person")] = Goal.dodge,
    victim: Annotated[Path | None, typer.Option("--as", metavar="PHOTO", help="the person to be taken for")] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="PHOTO", help="another photo of the same person (repeat); the first guides, all judge"),
    ] = None,
    method: Annotated[str, typer.Option(help="a method of `facesec list evasion`")] = METHOD,
    target: Annotated[str, typer.Option(help="recognisers to craft on, by comma")] = "sface,dlib_resnet",
    held_out: Annotated[
        str | None,
        typer.Option(help="recognisers that only judge, by comma; by default the other strong ones that are cached"),
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="the method's budget; for pixel methods in grey levels")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="any other setting, as for `facesec run`")
    ] = None,
    far: Annotated[float | None, typer.Option(help="false accept rate of the thresholds (configured: 0.01)")] = None,
    exif: Annotated[Exif, typer.Option(help="metadata; previews of the face are dropped either way")] = Exif.keep,
    quality: Annotated[int, typer.Option(min=1, max=100, help="of JPEG and lossy WebP")] = 95,
    kind: Annotated[Kind, typer.Option("--format", help="the photo's own format, or PNG")] = Kind.keep,
    force: Annotated[bool, typer.Option("--force", help="replace earlier outputs (never inputs)")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
    seed: Annotated[int, typer.Option(help="decides every random draw")] = 0,
) -> None:
    """Cloak every face in your photos, and say which recognisers still know the person.

    Exit code 1 if a photo could not be protected. See docs/protect.md, and docs/ethics.md for what it is not for.
    """
    from experiments.protect_order import Order
    from experiments.protect_order import protect as carry_out

    order = Order(
        photos=photos,
        out=out,
        method=method,
        goal=goal.value,  # type: ignore[arg-type]
        victim=victim,
        references=tuple(reference or ()),
        targets=_names(target),
        held_out=None if held_out is None else _names(held_out),
        prompt=prompt,
        strength=strength,
        overrides=tuple(set_ or ()),
        far=far,
        exif=exif.value,  # type: ignore[arg-type]
        quality=quality,
        kind=kind.value,  # type: ignore[arg-type]
        force=force,
        device=device,
        seed=seed,
    )
    end_as_by_hand()
    try:
        failed = carry_out(order, Console())
    except FacesecError as error:
        print(f"facesec: {error}", file=sys.stderr)
        if isinstance(error, AssetError):
            print(
                "`facesec assets fetch`, once and with a network, gets all that protect may need (some 270 MB).",
                file=sys.stderr,
            )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print("facesec: interrupted; photos written so far are whole.", file=sys.stderr)
        raise typer.Exit(130) from None
    if failed:
        print(f"facesec: {failed} of the photos not protected; the reasons are above.", file=sys.stderr)
        raise typer.Exit(1)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
