"""torchattacks and Foolbox through the gallery view: independent implementations, and a budget not theirs to break."""

import contextlib
import importlib.util
import sys

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from attacks.library_guard import checked, seeded_globally
from attacks.translation import gaussian_kernel
from attacks.via_foolbox import Foolbox
from attacks.via_torchattacks import TorchAttacks
from experiments.catalogue import CONF
from facesec_bench.errors import ConfigError, MissingPackageError, TargetError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import Faces
from facesec_bench.search import SignStep, minimise
from facesec_bench.seeds import generator
from facesec_bench.spaces import PixelBall
from facesec_bench.targets.gallery import GalleryClassifier
from facesec_bench.targets.toy import ToyTarget

needs_torchattacks = pytest.mark.skipif(not importlib.util.find_spec("torchattacks"), reason="torchattacks is an extra")
EPS = 8 / 255


def study(kind="dodge", people=3, side=48):
    rng = generator(0, "adapters")
    images = functional.interpolate(torch.rand(people, 3, 12, 12, generator=rng), side, mode="bicubic").clamp(0, 1)
    others = (images + 0.05 * torch.randn(images.shape, generator=rng)).clamp(0, 1)
    identities = 10 * torch.arange(people)  # columns are not identities
    labels = identities if kind == "dodge" else identities.roll(1)
    names = tuple(f"p{i}" for i in range(10 * people))
    faces = Faces(images, identities, tuple(f"f{i}" for i in range(people)), names)
    gallery = Faces(others, identities, tuple(f"g{i}" for i in range(people)), names)
    return faces, Aim(kind, others[labels // 10], labels, gallery)


def cross_entropy(classifier, aim):
    """What the libraries ascend (dodge) or descend (impersonate), as a loss to be minimised."""
    columns, sign = classifier.columns(aim.labels), -1.0 if aim.kind == "dodge" else 1.0
    return lambda x: sign * functional.cross_entropy(classifier(x), columns, reduction="none")


@needs_torchattacks
@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
@pytest.mark.parametrize(
    ("name", "arguments", "decay"),
    [("PGD", {"steps": 6, "random_start": False}, 0.0), ("MIFGSM", {"steps": 6, "decay": 0.9}, 0.9)],
)
def test_our_loop_and_torchattacks_give_the_same_images(kind, name, arguments, decay):
    faces, aim = study(kind)
    toy = ToyTarget()
    theirs = TorchAttacks(name, arguments, eps_255=8.0, step=0.25)(faces, aim, [toy], generator(0))
    classifier = GalleryClassifier(toy, aim.gallery)
    rule = SignStep(0.25 * EPS, decay)
    ours = minimise(cross_entropy(classifier, aim), PixelBall(faces.images, EPS), rule, 6, generator(0))
    # Both follow the same recurrence; where a gradient is zero to float precision its sign may differ.
    differs = (ours - theirs).abs() > 1e-6
    assert differs.float().mean() < 1e-3
    assert (theirs - faces.images).abs().mean() > 0.3 * EPS


def test_foolbox_pgd_without_a_random_start_gives_the_same_images_too():
    faces, aim = study()
    toy = ToyTarget()
    arguments = {"steps": 6, "rel_stepsize": 0.25, "random_start": False}
    theirs = Foolbox("LinfPGD", arguments, eps_255=8.0)(faces, aim, [toy], generator(0))
    classifier = GalleryClassifier(toy, aim.gallery)
    space = PixelBall(faces.images, EPS)
    ours = minimise(cross_entropy(classifier, aim), space, SignStep(0.25 * EPS), 6, generator(0))
    assert ((ours - theirs).abs() > 1e-6).float().mean() < 1e-3


def test_logits_are_scaled_cosines_to_one_template_per_identity():
    faces, aim = study()
    toy = ToyTarget()
    both = Faces(
        torch.cat([aim.gallery.images, faces.images]), torch.cat([aim.gallery.identities, faces.identities]),
        aim.gallery.keys + faces.keys, faces.names,
    )  # fmt: skip
    classifier = GalleryClassifier(toy, both, scale=10.0)
    with torch.no_grad():
        mean = functional.normalize(toy.embed(aim.gallery.images) + toy.embed(faces.images), dim=1)
        assert torch.allclose(classifier(faces.images), 10 * toy.embed(faces.images) @ mean.T, atol=1e-5)
    assert classifier.columns(torch.tensor([20, 0])).tolist() == [2, 0]


def test_an_ensemble_averages_logits():
    faces, aim = study()
    targets = [ToyTarget(0), ToyTarget(1)]
    with torch.no_grad():
        singles = [GalleryClassifier(t, aim.gallery)(faces.images) for t in targets]
        assert torch.allclose(GalleryClassifier(targets, aim.gallery)(faces.images), sum(singles) / 2, atol=1e-5)


def test_a_label_outside_the_gallery_is_named():
    _, aim = study()
    with pytest.raises(ConfigError, match=r"\[7\]"):
        GalleryClassifier(ToyTarget(), aim.gallery).columns(torch.tensor([0, 7]))


@needs_torchattacks
@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"name": "NoSuchAttack", "eps_255": 8.0}, "no attack"),
        ({"name": "PGD", "eps_255": 8.0, "arguments": {"stepz": 3}}, "stepz"),
        ({"name": "PGD"}, "takes a budget"),
        ({"name": "DeepFool", "eps_255": 8.0}, "no budget"),
        ({"name": "PGDL2", "eps_255": 8.0}, "measured in L2"),
        ({"name": "PGD", "rms_255": 8.0}, "measured in Linf"),
    ],
)
def test_torchattacks_misuse_is_refused_by_name(arguments, what):
    faces, aim = study()
    with pytest.raises(ConfigError, match=what):
        TorchAttacks(**arguments)(faces, aim, [ToyTarget()], generator(0))


@needs_torchattacks
def test_an_eps_among_the_arguments_is_refused():
    with pytest.raises(ConfigError, match="eps_255"):
        TorchAttacks("PGD", {"eps": 0.3})


@needs_torchattacks
def test_torchattacks_l2_keeps_the_stated_root_mean_square():
    faces, aim = study()
    result = TorchAttacks("PGDL2", {"steps": 3}, rms_255=8.0, step=0.5)(faces, aim, [ToyTarget()], generator(0))
    change = 255 * (result - faces.images).square().mean((1, 2, 3)).sqrt()
    assert (change <= 8.0 * (1 + 1e-4)).all() and (change > 4.0).all()


@needs_torchattacks
def test_a_minimum_norm_attack_runs_without_a_budget_and_crosses_the_boundary():
    faces, aim = study()
    toy = ToyTarget()
    result = TorchAttacks("DeepFool", {"steps": 30})(faces, aim, [toy], generator(0))
    classifier = GalleryClassifier(toy, aim.gallery)
    assert (classifier(result).argmax(1) != classifier.columns(aim.labels)).all()


@pytest.mark.parametrize(
    ("arguments", "kind", "what"),
    [
        ({"name": "NoSuchAttack"}, "dodge", "no 'NoSuchAttack'"),
        ({"name": "LinfPGD", "eps_255": 8.0, "arguments": {"stepz": 3}}, "dodge", "stepz"),
        ({"name": "LinfPGD", "rms_255": 8.0}, "dodge", "measured in"),
        ({"name": "LinfPGD"}, "dodge", "takes a budget"),
    ],
)
def test_foolbox_misuse_is_refused_by_name(arguments, kind, what):
    faces, aim = study(kind)
    with pytest.raises(ConfigError, match=what):
        Foolbox(**arguments)(faces, aim, [ToyTarget()], generator(0))


class Failing(ToyTarget):
    """A target in whose `embed` something breaks under the library's hands."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def embed(self, chips):
        raise self.error


@needs_torchattacks
@pytest.mark.parametrize("cause", [RuntimeError("no memory"), ValueError("bad shape"), AttributeError("no such thing")])
@pytest.mark.parametrize(("attack", "name"), [(TorchAttacks, "torchattacks PGD"), (Foolbox, "foolbox LinfPGD")])
def test_what_breaks_inside_a_library_names_library_attack_and_cause(attack, name, cause):
    faces, aim = study()
    with pytest.raises(TargetError, match=f"{name}.*{type(cause).__name__}: {cause}") as caught:
        attack(name.split()[1], eps_255=8.0)(faces, aim, [Failing(cause)], generator(0))
    assert caught.value.__cause__ is cause


def test_an_error_with_a_remedy_passes_through_as_it_is():
    faces, aim = study()
    with pytest.raises(ConfigError, match="mine"):
        Foolbox("LinfPGD", eps_255=8.0)(faces, aim, [Failing(ConfigError("mine"))], generator(0))


def test_a_goal_that_foolbox_does_not_support_is_an_error_in_its_words():
    faces, aim = study("impersonate")
    attack = Foolbox("VirtualAdversarialAttack", {"steps": 1}, rms_255=8.0)
    with pytest.raises(TargetError, match="foolbox VirtualAdversarialAttack, to impersonate: ValueError"):
        attack(faces, aim, [ToyTarget()], generator(0))


def test_a_minimum_norm_attack_of_foolbox_is_clipped_to_a_stated_budget():
    faces, aim = study()
    result = Foolbox("L2DeepFoolAttack", {"steps": 5}, rms_255=0.05)(faces, aim, [ToyTarget()], generator(0))
    assert (255 * (result - faces.images).square().mean((1, 2, 3)).sqrt()).max() <= 0.05 * 1.001


def test_a_result_outside_its_budget_or_not_finite_is_an_error():
    images = torch.full((1, 3, 4, 4), 0.5)
    space = PixelBall(images, EPS)
    assert torch.equal(checked(images + EPS + 1e-7, space, images, "x"), space.project(images + EPS))
    with pytest.raises(ConfigError, match="left its declared budget"):
        checked(images + 2 * EPS, space, images, "x")
    with pytest.raises(TargetError, match="not finite"):
        checked(images * torch.nan, space, images, "x")
    with pytest.raises(ConfigError):
        checked(images + 0.6, None, images, "x")


def test_global_randomness_is_lent_and_taken_back():
    torch.manual_seed(0)
    np.random.seed(0)
    wanted = torch.rand(2), np.random.rand(2)
    torch.manual_seed(0)
    np.random.seed(0)
    with seeded_globally(generator(1)):
        first = torch.rand(1), np.random.rand()
    assert torch.equal(torch.rand(2), wanted[0]) and (np.random.rand(2) == wanted[1]).all()
    with seeded_globally(generator(1)):
        assert (torch.rand(1), np.random.rand()) == first


def test_the_generators_of_any_accelerator_are_lent_and_taken_back(monkeypatch):
    asked = []

    def fork(devices=None, device_type="cuda"):
        asked.append(device_type)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    for accelerator in (torch.device("mps"), None):
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda found=accelerator: found)
        with seeded_globally(generator(1)):
            pass
    assert asked == ["mps", "cuda"]


@needs_torchattacks
@pytest.mark.parametrize("name", ["ti_fgsm", "ti_dim"])
def test_the_published_presets_smooth_as_the_released_code_does(name):
    from torchattacks import TIFGSM

    settings = yaml.safe_load((CONF / "evasion" / f"{name}.yaml").read_text(encoding="utf-8"))
    kernel = gaussian_kernel(settings["kernel"], settings["sigma"]).numpy()
    theirs = TIFGSM(torch.nn.Identity()).gkern(15, 3)
    assert np.allclose(np.outer(kernel, kernel), theirs, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("module", "attack"), [("torchattacks", TorchAttacks), ("foolbox", Foolbox)])
def test_a_missing_library_says_how_to_get_it(module, attack, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    faces, aim = study()
    with pytest.raises(MissingPackageError, match="pip install"):
        attack("PGD", eps_255=8.0)(faces, aim, [ToyTarget()], generator(0))
