"""A report as one HTML page that asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from facesec_bench.reporting import document
from facesec_bench.reporting.document import Figure, Photos, Prose, Section, Table


def render(title: str, abstract: Prose, alarms: Sequence[Prose], sections: Sequence[Section]) -> str:
    """The page. Every text is escaped; only our own SVG and style sheet go in as they are."""
    # autoescape=True, and not by file suffix: ".html.j2" is unknown to Jinja's select_autoescape.
    environment = Environment(
        loader=PackageLoader("facesec_bench.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda block, name: isinstance(block, getattr(document, name))
    environment.filters["svg"] = Markup
    source = environment.loader
    style = source.get_source(environment, "style.css")[0] if source else ""
    page = environment.get_template("page.html.j2")
    return page.render(
        title=title,
        style=Markup(style),
        abstract=abstract,
        alarms=alarms,
        sections=sections,
        numbers=numbered(sections),
    )


def numbered(sections: Sequence[Section]) -> dict[str, int]:
    """ "table slug" and "figure slug" to their number, in order of appearance."""
    numbers: dict[str, int] = {}
    counts = {"table": 0, "figure": 0}
    for section in sections:
        for block in section.blocks:
            kind = "table" if isinstance(block, Table) else "figure" if isinstance(block, Figure | Photos) else ""
            if kind:
                counts[kind] += 1
                numbers[f"{kind} {block.slug}"] = counts[kind]  # type: ignore[union-attr]
    return numbers
