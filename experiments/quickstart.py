"""Quickstart: small parts of several studies, in one run and one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from experiments.resources import accepted
from facesec_bench.data import Dataset
from facesec_bench.interfaces import FRTarget
from facesec_bench.records import Outcome
from facesec_bench.runs import Run


def quickstart(
    run: Run,
    dataset: Dataset,
    targets: dict[str, FRTarget],
    *,
    parts: Mapping[str, Callable[..., Outcome]],
    **offered: Any,
) -> Outcome:
    """Run the parts one after another on the same faces and targets.

    Args:
        parts: recipes by name, each with its own design.
        offered: whatever a recipe may ask for by name: methods, `store`, `device`, ...
    """
    known, cards, whole = dict(run.card.methods), dict[str, dict[str, Any]](), Outcome()
    for name, part in parts.items():
        run.card.methods = dict(known)
        with run.stage(name):
            outcome = part(run, dataset, targets, **accepted(part, offered))
        cards |= run.card.methods
        seen = set(whole.records)
        # Every part calibrates, from one store: the same rows are written once.
        whole.records += [record for record in outcome.records if record not in seen]
        whole.scores |= outcome.scores
        whole.examples += outcome.examples
        whole.strips += outcome.strips
    run.card.methods = cards
    run.card.threat_model = list(dict.fromkeys(run.card.threat_model))
    return whole
