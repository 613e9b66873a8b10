"""The digest of code that makes weights: what it sees, and what it overlooks."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from facesec_bench.trained import code_digest

SOURCE = '''"""A module."""

RATE = 0.5
"""How fast."""


class Net:
    """A network."""

    size: int = 3

    def forward(self, x):
        """Forward."""
        return RATE * x  # halved
'''


def module(folder: Path, source: str) -> ModuleType:
    folder.mkdir()
    (folder / "made.py").write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("made", folder / "made.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""A module."""', '"""Another story."""'),
        ('"""How fast."""', ""),
        ('        """Forward."""\n', ""),
        ("  # halved", ""),
        ("RATE * x", "(RATE\n                * x)"),
    ],
)
def test_what_only_explains_does_not_count(tmp_path, old, new):
    assert old in SOURCE
    assert code_digest(module(tmp_path / "a", SOURCE)) == code_digest(module(tmp_path / "b", SOURCE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"), [("0.5", "0.25"), ("RATE * x", "x * RATE"), ("= 3", "= 3.0"), ("return ", ""), ("Net", "Web")]
)
def test_what_acts_counts(tmp_path, old, new):
    assert old in SOURCE
    assert code_digest(module(tmp_path / "a", SOURCE)) != code_digest(module(tmp_path / "b", SOURCE.replace(old, new)))


def test_functions_stand_for_themselves_and_their_order_counts():
    assert code_digest(module) == code_digest(module) != code_digest(module, test_what_acts_counts)
    assert code_digest(module, test_what_acts_counts) != code_digest(test_what_acts_counts, module)
