"""`facesec doctor`: what is here, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

REQUIRED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "onnxruntime": "onnxruntime",
    "onnx2torch": "onnx2torch",
    "lpips": "lpips",
    "foolbox": "foolbox",
    "hydra-core": "hydra",
    "mlflow": "mlflow",
    "torchmetrics": "torchmetrics",
}
OPTIONAL = {
    "torchattacks": ("torchattacks", "pip install --no-deps torchattacks==3.5.1"),
    "frbench": ("frbench", "pip install 'facesec-bench[frbench]'"),
}
Row = tuple[str, str, str, str]


def examine(console: Console) -> int:
    """Print the findings; 0 if the quickstart can run, 1 if something it needs is missing."""
    rows = [*_python(), *_packages(), *_optional(), *_programs(), *_assets(), *_folders()]
    table = Table(title="facesec doctor", title_justify="left")
    for column in ("part", "state", "found", "to mend it"):
        table.add_column(column, overflow="fold")
    styles = {"ok": "green", "optional": "yellow", "missing": "red"}
    for part, state, found, remedy in rows:
        table.add_row(part, f"[{styles[state]}]{state}[/]", escape(found), escape(remedy))
    console.print(table)
    return int(any(state == "missing" for _, state, _, _ in rows))


def _python() -> list[Row]:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    return [
        (
            "python",
            "ok" if fits else "missing",
            platform.python_version(),
            "" if fits else "use Python 3.11, 3.12 or 3.13",
        )
    ]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> list[Row]:
    return [
        (name, "ok" if (v := _version(name)) else "missing", v or "", "" if v else "make setup (or pip install -e .)")
        for name in REQUIRED
    ]


def _optional() -> list[Row]:
    return [
        (name, "ok", _version(name) or "", "")
        if importlib.util.find_spec(module)
        else (name, "optional", "not installed", remedy)
        for name, (module, remedy) in OPTIONAL.items()
    ]


def _programs() -> list[Row]:
    rows: list[Row] = []
    npm = shutil.which("npm")
    rows.append(
        (
            "npm",
            "ok" if npm else "optional",
            npm or "not installed",
            "" if npm else "only mobilefacenet's download needs it",
        )
    )
    return rows


def _assets() -> list[Row]:
    from facesec_bench import assets

    rows: list[Row] = []
    needed = {"sface", "yunet", "dlib_resnet", "dcgan", "lpips_alex"}
    for status in assets.status():
        state = (
            "ok"
            if status.state in ("cached", "user file")
            else "missing"
            if status.asset.name in needed
            else "optional"
        )
        remedy = "" if state == "ok" else f"facesec assets fetch {status.asset.name}"
        if status.state == "outdated":
            remedy = f"facesec assets put {status.asset.name} FILE (yours is from another version)"
        rows.append((f"asset {status.asset.name}", state, status.state, remedy))
    return rows


def _folders() -> list[Row]:
    from experiments.run import results_folder
    from facesec_bench import assets

    results, rows = results_folder(), []
    for name, folder in (("results", results), ("asset cache", assets.cache_folder())):
        existing: Path = folder
        while not existing.exists():
            existing = existing.parent
        writable = os.access(existing, os.W_OK)
        remedy = (
            ""
            if writable
            else f"make it writable, or set {'FACESEC_RESULTS' if name == 'results' else 'FACESEC_CACHE'}"
        )
        rows.append((name, "ok" if writable else "missing", str(folder), remedy))
    offline = assets.offline()
    rows.append(("network", "ok", "never touched (FACESEC_OFFLINE=1)" if offline else "used for assets only", ""))
    return rows
