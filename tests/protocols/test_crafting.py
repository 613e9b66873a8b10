import pytest
import torch

from facesec_bench.errors import TargetError
from facesec_bench.protocols.crafting import Entry, aim_for, as_kept, craft, plan
from facesec_bench.protocols.roles import assign
from facesec_bench.targets.toy import ToyTarget

NAMES = ["a", "b", "c"]


def nothing(faces, aim, surrogates, rng):
    return faces.images


def sets(**options):
    defaults = {"white_box": True, "transfer": True, "ensemble_members": NAMES}
    return {e.surrogates: e.victims for e in plan("m", nothing, 8.0, NAMES, **(defaults | options))}


def test_every_surrogate_meets_every_victim_and_ensembles_leave_their_victim_out():
    found = sets()
    assert found[("a",)] == ("a", "b", "c")
    assert found[("b", "c")] == ("a",) and found[("a", "c")] == ("b",) and found[("a", "b")] == ("c",)


def test_no_victim_is_its_own_surrogate_unless_the_box_is_white():
    for surrogates, victims in sets(white_box=False).items():
        assert not set(surrogates) & set(victims)


def test_without_transfer_only_the_white_box_is_left():
    assert sets(transfer=False) == {("a",): ("a",), ("b",): ("b",), ("c",): ("c",)}


def test_one_ensemble_serves_all_victims_outside_it():
    found = sets(ensemble_members=["a", "b"])
    assert found[("a", "b")] == ("c",) and ("b", "c") not in found


def test_labels_show_the_surrogates_except_in_the_white_box():
    entry = Entry("pgd", nothing, ("a",), ("a", "b"), 8.0)
    assert (entry.label("a"), entry.label("b")) == ("pgd", "pgd@a")
    assert Entry("pgd", nothing, ("a", "b"), ("c",), 8.0).label("c") == "pgd@a+b"
    assert Entry("random_sign", nothing, (), ("c",), 8.0).label("c") == "random_sign"


def test_an_attack_sees_reference_photos_and_never_a_judge(faces):
    roles = assign(faces, seed=0, judges=2, sources_per_identity=1)
    rows = range(len(roles.sources))
    judges = {i for group in roles.judges.values() for i in group}
    for kind in ("dodge", "impersonate"):
        aim = aim_for(faces, roles, kind, list(rows))
        seen = [*aim.references, *aim.gallery.images]
        assert not any(torch.equal(photo, faces.images[j]) for photo in seen for j in judges)
        wanted = roles.targets if kind == "impersonate" else faces.identities[list(roles.sources)].tolist()
        assert aim.labels.tolist() == list(wanted)


def test_kept_images_are_what_an_eight_bit_file_holds(tmp_path):
    chips = torch.rand(2, 3, 9, 7)
    kept = as_kept(chips, {1: tmp_path / "x.png"})
    assert torch.equal(kept, (chips * 255).round() / 255)
    from PIL import Image

    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (7, 9) and image.getpixel((3, 2)) == tuple((kept[1, :, 2, 3] * 255).int().tolist())


@pytest.mark.parametrize("bad", [lambda x: x * 2, lambda x: x[:, :, 1:], lambda x: x * float("nan")])
def test_an_attack_that_breaks_the_contract_is_an_error_not_a_score(faces, bad):
    roles = assign(faces, seed=0, judges=2)
    entry = Entry("broken", lambda f, a, s, r: bad(f.images), ("toy",), ("toy",), 8.0)
    with pytest.raises(TargetError, match="broken: found chips"):
        craft(entry, faces, roles, "dodge", {"toy": ToyTarget()}, seed=0)
