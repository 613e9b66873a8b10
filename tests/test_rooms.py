"""The one-way rule between rooms, the order inside the kernel, and one owner for each heavy library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "facesec_bench": {"facesec_bench"},
    "attacks": {"attacks", "facesec_bench"},
    "defenses": {"defenses", "facesec_bench"},
    "unlearning": {"unlearning", "facesec_bench"},
    "experiments": {"experiments", "attacks", "defenses", "unlearning", "facesec_bench"},
}
ROOMS = set(MAY_IMPORT)
# Left never imports right. Within a group, modules may meet. A module is placed by the longest name that fits it.
KERNEL = (
    (
        "interfaces",
        "goals",
        "records",
        "seeds",
        "errors",
        "files",
        "tensor_files",
        "asset",
        "trained",
        "progress",
        "runs",
        "access",
        "distortions",
        "screenshot",
    ),
    ("data", "targets", "generators", "perception", "watermarks", "makeup"),
    ("spaces", "search", "training", "closed_set_training"),
    ("metrics",),
    ("protocols",),
    ("tracking", "reporting"),
)
# Where a heavy library may be imported, and only inside a function: these cost seconds, `facesec --help` none.
OWNERS = {
    "hydra": ("experiments/",),
    "mlflow": ("facesec_bench/tracking.py",),
    "torchattacks": ("attacks/via_torchattacks.py",),
    "foolbox": ("attacks/via_foolbox.py",),
    "lpips": ("facesec_bench/perception/",),
    "open_clip": ("facesec_bench/perception/",),
    "matplotlib": ("facesec_bench/reporting/figures.py",),
    "opacus": ("defenses/dp_sgd.py",),
    "cma": ("attacks/evolution.py",),
}
COMMAND_LINE = "experiments/cli.py"  # what `facesec --help` loads; behind it, Hydra's decorator must stand at the top
NO_TORCH = "facesec_bench/reporting/"


def imports_of(source: str) -> list[tuple[str, bool]]:
    """(module, is it outside functions) for every import; blocks under TYPE_CHECKING do not run and do not count."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child, top)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append(("<relative>", top))
        elif isinstance(node, ast.ImportFrom) and node.module:
            # "from facesec_bench import assets" imports facesec_bench.assets
            found.extend((f"{node.module}.{a.name}" if node.module in ROOMS else node.module, top) for a in node.names)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, top and not inside)

    visit(ast.parse(source), True)
    return found


def place(parts: list[str]) -> int | None:
    """Which kernel group a module `facesec_bench.<parts>` belongs to; None for the package itself."""
    name = parts[1] if len(parts) > 1 else ""
    name = "asset" if name.startswith("asset") else name
    return next((i for i, group in enumerate(KERNEL) if name in group), None)


def violations(path: str, source: str) -> list[str]:
    """Every breach of the rules in one file; `path` is relative to the repository."""
    room, own = path.split("/")[0], place(path.removesuffix(".py").split("/"))
    found = []
    for module, top in imports_of(source):
        parts = module.split(".")
        library = parts[0]
        if library == "<relative>":
            found.append(f"{path}: relative import; write the full name")
        if library in ROOMS | {"tests", "benchmarks"} and library not in MAY_IMPORT[room]:
            found.append(f"{path}: {room} imports {module}")
        theirs = place(parts) if library == room == "facesec_bench" else None
        if own is not None and theirs is not None and theirs > own:
            found.append(f"{path}: {module} stands to its right in the kernel")
        if library in OWNERS and not path.startswith(OWNERS[library]):
            found.append(f"{path}: {library} belongs to {', '.join(OWNERS[library])}")
        if library in OWNERS and top and (library != "hydra" or path == COMMAND_LINE):
            found.append(f"{path}: import {library} inside a function")
        if library.startswith("torch") and path.startswith(NO_TORCH):
            found.append(f"{path}: reporting imports no torch")
    return found


def files(room: str) -> list[Path]:
    return sorted(p for p in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room_keeps_to_the_one_way_rule_and_to_the_library_owners(room):
    found = [v for p in files(room) for v in violations(p.relative_to(ROOT).as_posix(), p.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("facesec_bench/goals.py", "import attacks.pgd"),
        ("facesec_bench/goals.py", "from attacks import pgd"),
        ("facesec_bench/goals.py", "def f():\n    from experiments import run"),
        ("attacks/pgd.py", "from defenses.purifier import Blur"),
        ("unlearning/x.py", "import attacks"),
        ("attacks/pgd.py", "import tests.attacks.test_pgd"),
        ("facesec_bench/seeds.py", "from facesec_bench.search import minimise"),
        ("facesec_bench/targets/sface.py", "from facesec_bench import search"),
        ("facesec_bench/data/x.py", "import facesec_bench.metrics.quality"),
        ("facesec_bench/metrics/x.py", "from facesec_bench.reporting.build import build"),
        ("facesec_bench/asset_cache.py", "from facesec_bench.data.align import x"),
        ("facesec_bench/runs.py", "def f():\n    import mlflow"),
        ("facesec_bench/tracking.py", "import mlflow"),
        ("attacks/via_foolbox.py", "import foolbox as fb"),
        ("attacks/pgd.py", "def f():\n    import torchattacks"),
        ("facesec_bench/reporting/tables.py", "def f():\n    import matplotlib.pyplot"),
        ("facesec_bench/reporting/tables.py", "from torch import Tensor"),
        ("experiments/cli.py", "import hydra"),
        ("attacks/pgd.py", "from .budget import ball"),
    ],
)
def test_the_checker_sees_a_planted_violation(path, source):
    assert violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("attacks/pgd.py", "from facesec_bench.search import minimise\nfrom attacks.budget import ball"),
        ("facesec_bench/interfaces.py", "if TYPE_CHECKING:\n    from facesec_bench.reporting import build"),
        ("facesec_bench/tracking.py", "def f():\n    import mlflow"),
        ("experiments/run.py", "import hydra"),
        ("facesec_bench/protocols/x.py", "from facesec_bench.metrics.quality import psnr"),
    ],
)
def test_the_checker_lets_honest_imports_pass(path, source):
    assert not violations(path, source)


def test_every_kernel_module_has_a_place():
    names = {p.relative_to(ROOT).parts[1].removesuffix(".py") for p in files("facesec_bench")} - {"__init__"}
    assert not [n for n in sorted(names) if place(["facesec_bench", n]) is None]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_room_carries_the_project_marker(room):
    assigned = {
        target.id: node.value.value
        for node in ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert assigned.get("PROJECT") == "facesec_bench"


def test_no_recipe_bears_a_rooms_name_and_no_two_test_files_share_one():
    assert not {p.stem for p in (ROOT / "experiments").glob("*.py")} & (ROOMS | {"tests", "results"})
    names = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
