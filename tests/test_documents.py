"""What the documents promise exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_link_in_the_documents_leads_to_a_file():
    for document in ("README.md", "CONTRIBUTING.md", "docs/ethics.md"):
        path = ROOT / document
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{document} links to {target}"


def test_every_experiment_says_its_command_time_and_expected_result():
    from experiments.catalogue import entries

    for name, about in entries("experiment").items():
        assert {"title", "command", "time", "result", "needs"} <= set(about), name
        assert not re.search(r"\b[A-Z]{4,}\b", about["time"]), f"{name}: a placeholder stands for the time"


def test_every_name_in_the_readme_s_commands_can_be_chosen():
    from experiments.catalogue import entries

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for group in ("experiment", "data", "sweep"):
        for name in re.findall(rf"\b{group}=(\w+)", text):
            assert name in entries(group), f"README names {group}={name}"


def test_no_placeholder_is_left_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not re.findall(r"^[A-Z]{5,}$", text, flags=re.MULTILINE)
