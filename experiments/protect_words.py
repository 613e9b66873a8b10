"""What `facesec protect` says: a table for each face, and what holds in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.protect import ITSELF, Comparison, FaceResult, PhotoResult
from experiments.protect_judges import Judge

CAVEATS = (
    f'"{ITSELF}" is the very photo the cloak was made from: no other photo of the person is as like it, so this is the '
    "hardest case for a cloak. --reference PHOTO adds the case that matters more, another photo of the person.",
    "The scores hold for these recognisers, at these thresholds, on the files as written. No cloak is a guarantee: "
    "recognisers change, some are trained on cloaks, and whoever has the unprotected photo needs no other. "
    "See docs/ethics.md.",
)


def say_thresholds(console: Console, judges: Sequence[Judge]) -> None:
    """One line for each recogniser: its role, its threshold, and where that comes from."""
    for judge in judges:
        t = judge.threshold
        console.print(
            f"{judge.name} ({judge.role}): takes two photos for one person at a similarity of {t.value:.3f} or more: "
            f"{t.far:.3g} of pairs of strangers pass for one person ({t.n_impostor} pairs, {t.source}).",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not any(judge.held_out for judge in judges):
        _line(
            console,
            "No recogniser is held out, so nothing here says how the cloak fares with one it was not made for; "
            "--held-out NAME adds one of `facesec list target`.",
        )


def say_photo(console: Console, result: PhotoResult) -> None:
    """Everything about one photo."""
    if result.written is None:
        _line(console, f"{result.source}: not protected ({result.reason}): {result.refused}")
        return
    _line(console, f"{result.source} -> {result.written}")
    for note in result.notes:
        _line(console, f"  {note}")
    for number, face in enumerate(result.faces, start=1):
        place = f"face {number} of {len(result.faces)}, at x {face.box[0]:.0f}, y {face.box[1]:.0f}"
        if face.left_alone:
            _line(console, f"  {place}: NOT PROTECTED, {face.left_alone}")
            continue
        console.print(_table(face, f"{place}: {face.eyes_px:.0f} px between the eyes"))
        for sentence in verdicts(face):
            _line(console, f"  {sentence}")
        if not face.found_again:
            _line(console, "  The detector no longer finds this face; it was judged where it had been.")


def _table(face: FaceResult, title: str) -> Table:
    """Narrow enough for a terminal of 80 columns without a word being broken."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("recogniser", "compared with"):
        table.add_column(column, overflow="fold")
    for column in ("before", "after", "threshold"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for c in face.comparisons:
        against = c.against + (" (shown to the method)" if c.crafted_on and c.against != ITSELF else "")
        scores = (f"{c.before:.3f}", f"{c.after:.3f}", f"{c.threshold:.3f}")
        who = f"{c.target}, {c.role}" if c.role == "held out" else c.target
        table.add_row(escape(who), escape(against), *scores, _verdict(c))
    return table


def _verdict(c: Comparison) -> str:
    if c.close:
        return f"too close to say ({'at or above' if c.matched else 'below'} the threshold)"
    before = c.matched == c.matched_before
    if c.person == "other":
        return ("taken for them" + (", as before" if before else "")) if c.matched else "not taken for them"
    if c.matched:
        return "still recognised" if before else "recognised, though not before"
    return "not recognised" + (", nor before" if before else "")


def verdicts(face: FaceResult) -> list[str]:
    """One sentence for each recogniser, over all photos of the person: recognised if by any of them."""
    sentences = []
    for name in dict.fromkeys(c.target for c in face.comparisons):
        mine = [c for c in face.comparisons if c.target == name]
        parts = [_taken(c) for c in mine if c.person == "other"]
        own = [c for c in mine if c.person == "self"]
        by = [c.against for c in own if c.matched and not c.close]
        near = [c.against for c in own if c.close]
        rest = len(own) - len(by) - len(near)
        if len(by) == len(own):
            parts.append("still recognised")
        elif rest == len(own):
            parts.append("not recognised")
        else:
            said = [f"still recognised against {', '.join(by)}"] if by else []
            said += [f"too close to say against {', '.join(near)}"] if near else []
            said += [f"not against the other {_count(rest, 'photo')}"] if rest else []
            parts.append(", ".join(said))
        sentences.append(f"{name} ({mine[0].role}): {'; '.join(parts)}")
    return sentences


def _taken(c: Comparison) -> str:
    if c.close:
        return f"too close to say whether taken for {c.against}"
    return f"taken for {c.against}" if c.matched else f"not taken for {c.against}"


def say_summary(console: Console, results: Iterable[PhotoResult]) -> None:
    """How much was done, how often it held, and what it is worth."""
    results = list(results)
    written = [r for r in results if r.written is not None]
    done = [face for r in written for face in r.faces if not face.left_alone]
    small = sum(bool(face.left_alone) for r in written for face in r.faces)
    _line(
        console,
        f"{_count(len(written), 'photo')} written, {len(results) - len(written)} not; "
        f"{_count(len(done), 'face')} cloaked, {small} too small and left as they were.",
    )
    for name, role in dict.fromkeys((c.target, c.role) for face in done for c in face.comparisons):
        own = [[c for c in f.comparisons if c.target == name and c.person == "self"] for f in done]
        free = sum(not any(c.matched or c.close for c in face) for face in own)
        near = sum(any(c.close for c in face) and not any(c.matched and not c.close for c in face) for face in own)
        more = f", {near} too close to say" if near else ""
        _line(console, f"{name} ({role}): {free} of {len(done)} cloaked faces not recognised{more}.")
    for caveat in CAVEATS if done else ():
        _line(console, caveat)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
