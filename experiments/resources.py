"""What a recipe is handed: it names in its signature what it wants."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def accepted(function: Any, offered: Mapping[str, Any]) -> dict[str, Any]:
    """The offered resources that the recipe's signature names; all of them if it takes any."""
    wanted = inspect.signature(function).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in wanted.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in wanted}
