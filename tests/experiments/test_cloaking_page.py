"""What docs/cloaking.md shows can be done as it stands there."""

import re
import shlex
from pathlib import Path

import hydra
import pytest
import torch

from attacks.latent_file import LatentFile
from experiments.catalogue import entries

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/cloaking.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("")).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[2:] for line in lines if line.startswith("facesec run ")]


@pytest.mark.parametrize("overrides", commands(), ids=lambda overrides: overrides[-1].split("=")[0])
def test_every_command_composes(overrides):
    with hydra.initialize_config_dir(str(ROOT / "experiments/conf"), version_base="1.3"):
        assert hydra.compose("config", overrides).study is not None


def test_the_page_has_commands_and_names_rows_that_exist():
    assert len(commands()) == 2
    assert set(re.findall(r"^\| `(clip2protect\w*)` \|", PAGE, flags=re.MULTILINE)) == {
        name for name in entries("evasion") if name.startswith("clip2protect")
    }


def test_links_lead_to_files():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE) + re.findall(r"`(tests/[^`]+)`", PAGE):
        assert (ROOT / "docs" / target).exists() or (ROOT / target).exists(), target


def test_the_recipe_for_a_file_of_latents_gives_one_that_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keys = ["anna/1.png", "ben/a photo.png"]
    Path("keys.txt").write_text("\n".join(keys), encoding="utf-8")
    latents = torch.randn(2, 18, 512, generator=torch.Generator().manual_seed(0))
    torch.save(latents, "encoded.pt")
    exec(blocks("python")[1], {})  # the page's own words
    found = LatentFile("latents.pt").tensors
    assert list(found) == keys and torch.equal(found["ben/a photo.png"], latents[1])
    assert Path("latents.pt").stat().st_size < 4 * latents.numel() + 10_000


def test_the_recipe_for_pictures_writes_them_in_the_order_of_the_keys(tmp_path, monkeypatch, faces):
    from types import SimpleNamespace

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("facesec_bench.data.folder.Folder", lambda *_, **__: lambda: SimpleNamespace(faces=faces))
    exec(blocks("python")[0], {})
    assert Path("keys.txt").read_text(encoding="utf-8").splitlines() == list(faces.keys)
    assert [path.name for path in sorted(Path("pictures").iterdir())][:2] == ["00000.png", "00001.png"]
    assert len(list(Path("pictures").iterdir())) == len(faces)
