"""Weights that the project trained itself, kept in the cache so that a training is done once.

An entry is two files in `<cache>/trained/`: `<name>-<key>.safetensors` and a JSON sidecar with the recipe, the curve
and the sha256 of the weights. The key is a hash of the recipe, so another setting, data set or line of code is another
entry.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from safetensors.torch import load as parse
from safetensors.torch import save
from torch import Tensor

from facesec_bench.asset_cache import cache_folder
from facesec_bench.errors import ConfigError
from facesec_bench.files import write_atomically

Curve = Sequence[tuple[int, float, dict[str, float]]]
"""(steps done, loss, measures) as `training.fit` returns it."""


class _Entry(NamedTuple):
    weights: Path
    sidecar: Path


def path(name: str, recipe: Mapping[str, Any]) -> Path:
    """Where the weights of this recipe lie, whether or not they are there yet.

    Args:
        name: of what is trained; letters, digits and "_".
        recipe: everything that decides the weights, as JSON can write it: settings, seed, the data's digest, and
            a digest of the code (`code_digest`).

    Raises:
        ConfigError: a name that is no identifier, or a recipe that JSON cannot write.
    """
    return _entry(name, recipe).weights


def code_digest(*parts: ModuleType | type | Callable[..., Any]) -> str:
    """sha256 over what these modules, classes and functions do: their syntax trees without docstrings.

    Comments, layout and docstrings do not count, so that rewording an explanation makes no new weights; a literal, a
    name or an order does. The same in every Python version that parses them alike.
    """
    trees = [_plain(ast.parse(textwrap.dedent(inspect.getsource(part)))) for part in parts]
    return _sha256(json.dumps(trees).encode())


def store(name: str, recipe: Mapping[str, Any], tensors: Mapping[str, Tensor], curve: Curve = ()) -> Path:
    """Write weights and sidecar, each whole or not at all, and return the weights' path; an older entry is replaced.

    Tensors are kept in the precision they have.
    """
    entry = _entry(name, recipe)
    content = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
    about = {"name": name, "recipe": dict(recipe), "sha256": _sha256(content), "curve": [list(p) for p in curve]}
    write_atomically(entry.weights, content, durable=True)
    # Last: weights without their sidecar, or beside another's, do not count.
    write_atomically(entry.sidecar, (json.dumps(about, indent=1, sort_keys=True) + "\n").encode(), durable=True)
    return entry.weights


def load_curve(name: str, recipe: Mapping[str, Any]) -> list[tuple[int, float, dict[str, float]]]:
    """The curve stored with the weights; empty where there is none."""
    found = _sidecar(_entry(name, recipe))
    return [(int(step), float(loss), dict(measures)) for step, loss, measures in found.get("curve", [])]


def load(name: str, recipe: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The stored weights, or None where there are none or they are damaged (they are then trained again)."""
    entry = _entry(name, recipe)
    try:
        content = entry.weights.read_bytes()
    except FileNotFoundError:
        return None
    return parse(content) if _sidecar(entry).get("sha256") == _sha256(content) else None


def _entry(name: str, recipe: Mapping[str, Any]) -> _Entry:
    if not name.isidentifier():
        raise ConfigError(f"trained: found the name {name!r}, wanted letters, digits and '_': it becomes a file name.")
    try:
        text = json.dumps([name, dict(recipe)], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"trained: {name}'s recipe cannot be written as JSON ({error}); give numbers, words, lists."
        ) from error
    stem = cache_folder() / "trained" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"
    return _Entry(stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json"))


def _sidecar(entry: _Entry) -> dict[str, Any]:
    try:
        found = json.loads(entry.sidecar.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(node: Any) -> Any:
    """A syntax tree as lists; empty fields are left out, as versions of Python differ in which they have."""
    if isinstance(node, list):
        return [_plain(item) for item in node if not _explains(item)]
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, _plain(value)) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return [type(node).__name__, *fields]


def _explains(node: Any) -> bool:
    """Whether this is a string that stands alone: a docstring, of a name too."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
