"""The latent cloak on a tiny generator and the toy target."""

import pytest
import torch
from tiny_generator import TinyGenerator, squared
from torch.nn import functional

from attacks.clip2protect import Clip2Protect
from attacks.jitter import Jitter
from attacks.latent_file import LatentFile
from attacks.pivotal_tuning import Pivoting
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.goals import Aim
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.makeup.regions import face_mask
from facesec_bench.seeds import generator
from facesec_bench.targets.toy import ToyTarget

PIVOTING = Pivoting(layers=("z",), steps=10, step=0.1, tuning_steps=10, learning_rate=1e-2)


def photos(people: int = 3) -> tuple[Faces, torch.Tensor]:
    rng = generator(0, "cloak photos")
    images = functional.interpolate(torch.rand(people, 3, 12, 12, generator=rng), CHIP_SIZE, mode="bicubic").clamp(0, 1)
    keys = tuple(f"p{i}" for i in range(people))
    others = (0.9 * torch.roll(images, 2, -1) + 0.03).clamp(0, 1)
    return Faces(images, torch.arange(people), keys, keys), others


def aim_of(kind: str, people: int = 3) -> tuple[Faces, Aim]:
    faces, others = photos(people)
    labels = faces.identities if kind == "dodge" else faces.identities.roll(1)
    gallery = Faces(others, faces.identities, tuple(f"g{i}" for i in range(people)), faces.names)
    return faces, Aim(kind, others[labels], labels, gallery)


def cloak(**changes) -> Clip2Protect:
    settings = {"free": ("f7",), "steps": 12, "step": 0.2, "regulariser": 0.0} | changes
    return Clip2Protect(TinyGenerator(), squared, PIVOTING, **settings)


def similarity(chips: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    toy = ToyTarget()
    with torch.no_grad():
        return (toy.embed(chips) * toy.embed(others)).sum(1)


@pytest.mark.parametrize("rendering", ["residual", "generator"])
@pytest.mark.parametrize("kind", ["dodge", "impersonate"])
def test_it_moves_towards_its_goal_and_touches_the_face_only(kind, rendering):
    faces, aim = aim_of(kind)
    chips = cloak(rendering=rendering, steps=30)(faces, aim, [ToyTarget()], generator(1, "c"))
    none = cloak(rendering=rendering, steps=0)(faces, aim, [ToyTarget()], generator(1, "c"))
    sign = 1 if kind == "impersonate" else -1
    gain = sign * (similarity(chips, aim.references) - similarity(none, aim.references))
    assert (gain > 0.02).all()
    outside = (face_mask(CHIP_SIZE) == 0).expand_as(chips)
    assert outside.any()
    assert torch.equal(chips[outside], faces.images[outside])
    assert chips.min() >= 0 and chips.max() <= 1


def test_residual_rendering_begins_at_the_photo_itself():
    faces, aim = aim_of("dodge")
    assert torch.equal(cloak(steps=0)(faces, aim, [ToyTarget()], generator(1, "c")), faces.images)


def test_published_rendering_shows_what_the_tuned_generator_paints():
    faces, aim = aim_of("dodge")
    method = cloak(steps=0, rendering="generator")
    chips = method(faces, aim, [ToyTarget()], generator(1, "c"))
    latent, tuned = method.pivots(faces)
    inside = (face_mask(CHIP_SIZE) * method.frame.window == 1).expand_as(chips)
    with torch.no_grad():
        painted = method.frame.to_chip(tuned.synthesise(latent)).clamp(0, 1)
    assert torch.allclose(chips[inside], painted[inside], atol=1e-6)


def test_a_decoy_draws_the_photo_to_somebody_else():
    faces, aim = aim_of("dodge")
    toy = ToyTarget()
    with torch.no_grad():
        own, others = toy.embed(faces.images), toy.embed(aim.gallery.images)
        far = (own @ others.T).fill_diagonal_(torch.inf).argmin(1)
    chips = cloak(decoy=True, steps=30)(faces, aim, [toy], generator(1, "c"))
    before, after = similarity(faces.images, aim.gallery.images[far]), similarity(chips, aim.gallery.images[far])
    assert (after > before).all()


def test_the_order_of_photos_changes_nothing():
    faces, aim = aim_of("dodge")
    order = [2, 0, 1]
    turned = Aim("dodge", aim.references[order], aim.labels[order], aim.gallery)
    method = {"jitter": Jitter(0.1, 0.05, 0.05, 0.5, 0.1, 0.01)}
    straight = cloak(**method)(faces, aim, [ToyTarget()], generator(1, "c"))
    shuffled = cloak(**method)(faces.select(order), turned, [ToyTarget()], generator(1, "c"))
    assert torch.allclose(straight[order], shuffled, atol=1e-4)


def test_pivots_are_found_once_whatever_the_surrogates_and_goals():
    faces, aim = aim_of("dodge")
    method = cloak()
    first = method(faces, aim, [ToyTarget()], generator(1, "c"))
    kept = {name: id(pivot) for name, pivot in method._pivots.items()}
    method(*aim_of("impersonate"), [ToyTarget(1)], generator(1, "c"))
    again = method(faces, aim, [ToyTarget()], generator(1, "c"))
    assert kept == {name: id(pivot) for name, pivot in method._pivots.items()}
    assert torch.equal(first, again)


def test_photos_that_arrived_stop_and_the_others_go_on():
    faces, aim = aim_of("impersonate")
    free = cloak(steps=40)(faces, aim, [ToyTarget()], generator(1, "c"))
    reached = likeness(free, aim)
    wanted = float(reached.sort().values[:2].mean())  # two of three get there
    stopped = likeness(cloak(steps=40, stop=1 - wanted)(faces, aim, [ToyTarget()], generator(1, "c")), aim)
    assert (stopped >= wanted - 1e-4).sum() == 2
    assert (stopped[reached > wanted] <= reached[reached > wanted] + 1e-4).all()
    assert stopped[reached.argmax()] < reached.max() - 0.02  # no further than needed


def likeness(chips: torch.Tensor, aim: Aim) -> torch.Tensor:
    """To the reference: 0 as the reference is to the gallery's other people, 1 as to itself; people one by one."""
    near, found = similarity(chips, aim.references), []
    for i, label in enumerate(aim.labels.tolist()):
        others = [j for j in range(len(aim.labels)) if j != label]
        rest = similarity(aim.references[i : i + 1].expand(len(others), -1, -1, -1), aim.gallery.images[others])
        found.append((near[i] - rest.mean()) / (1 - rest.mean()))
    return torch.stack(found)


def test_a_photo_that_dodged_is_a_stranger_where_it_stopped():
    faces, aim = aim_of("dodge")
    far = likeness(cloak(steps=60)(faces, aim, [ToyTarget()], generator(1, "c")), aim)
    stop = float(far.max()) + 0.1
    stopped = likeness(cloak(steps=60, stop=stop)(faces, aim, [ToyTarget()], generator(1, "c")), aim)
    assert (stopped > far).all() and (stopped < 0.5 * (1 + stop)).all()


def test_whoever_has_no_stranger_to_compare_with_cannot_stop_early():
    faces, aim = aim_of("dodge", people=1)
    with pytest.raises(ConfigError, match="one person"):
        cloak(stop=0.0)(faces, aim, [ToyTarget()], generator(1, "c"))


def test_reach_bounds_the_change():
    faces, aim = aim_of("dodge")
    near = cloak(reach=0.05)(faces, aim, [ToyTarget()], generator(1, "c"))
    far = cloak(reach=None)(faces, aim, [ToyTarget()], generator(1, "c"))
    assert (near - faces.images).abs().mean() < 0.5 * (far - faces.images).abs().mean()


def test_shades_have_a_depth_which_small_changes_do_not_feel():
    faces, aim = aim_of("dodge")
    free, shaded, faint = (
        255 * (cloak(shade_255=most, steps=steps)(faces, aim, [ToyTarget()], generator(1, "c")) - faces.images).abs()
        for most, steps in ((None, 20), (6.0, 20), (200.0, 1))
    )
    assert free.max() > 12 and 5 < shaded.max() <= 6.001
    one = 255 * (cloak(steps=1)(faces, aim, [ToyTarget()], generator(1, "c")) - faces.images).abs()
    assert torch.allclose(faint, one, atol=0.02 * float(one.max()))


def test_hair_and_background_are_left_alone_where_asked():
    faces, aim = aim_of("dodge")
    images = torch.full_like(faces.images, 0.6) + torch.tensor([0.15, 0.0, -0.1]).view(3, 1, 1)
    images[:, :, :, :85] = torch.tensor([0.1, 0.4, 0.1]).view(3, 1, 1)  # a hedge beside a turned cheek
    plain = Faces(images, faces.identities, faces.keys, faces.names)
    fitted, whole = (
        (cloak(fit=fit)(plain, aim, [ToyTarget()], generator(1, "c")) - images).abs().amax(1) for fit in (True, False)
    )
    hedge = slice(60, 78)
    assert whole[:, 110:160, hedge].max() > 0 and fitted[:, 110:160, hedge].max() < 1e-3
    assert fitted[:, 110:130, 100:125].max() > 0


def test_a_surrogate_counts_by_its_weight():
    faces, aim = aim_of("dodge")
    toys = [ToyTarget(), ToyTarget(1)]
    toys[1].name = "weak"
    alone = cloak()(faces, aim, toys[:1], generator(1, "c"))
    both, without = (
        cloak(surrogate_weights=weights)(faces, aim, toys, generator(1, "c")) for weights in (None, {"weak": 0.0})
    )
    assert torch.equal(alone, without) and not torch.equal(alone, both)
    with pytest.raises(ConfigError, match="one above 0"):
        cloak(surrogate_weights={"weak": 0.0})(faces, aim, toys[1:], generator(1, "c"))


def test_guidance_is_heard_with_its_weight_and_not_without():
    class Redder:
        def bind(self, originals, rng):
            return lambda images: -images[:, 0].mean((1, 2)) * 50

    faces, aim = aim_of("dodge")
    runs = [
        cloak(guidance=guidance, makeup=weight)(faces, aim, [ToyTarget(), ToyTarget(1)], generator(1, "c"))
        for guidance, weight in ((None, 0.3), (Redder(), 0.0), (Redder(), 3.0))
    ]
    assert torch.equal(runs[0], runs[1])
    assert (runs[2][:, 0].mean((1, 2)) > runs[0][:, 0].mean((1, 2))).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"rendering": "paint"},
        {"steps": -1},
        {"step": 0.0},
        {"makeup": -0.1},
        {"shade_255": 0},
        {"surrogate_weights": {"toy": -1.0}},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="clip2protect"):
        cloak(**wrong)


def filed(tmp_path, people: int = 3) -> str:
    """A latent for each photo, made elsewhere."""
    zs = {f"p{i}::z": torch.randn(6, generator=generator(7, "z", i)) for i in range(people)}
    torch.save(zs, tmp_path / "latents.pt")
    return str(tmp_path / "latents.pt")


def test_a_latent_from_a_file_is_the_pivot_itself_and_only_the_generator_is_tuned(tmp_path, monkeypatch):
    monkeypatch.setattr("attacks.clip2protect.invert", lambda *_: pytest.fail("a given pivot is not optimised"))
    faces, aim = aim_of("dodge")
    method = cloak(latents=filed(tmp_path), rendering="generator", steps=0)
    method(faces, aim, [ToyTarget()], generator(1, "c"))
    latent, tuned = method.pivots(faces)
    assert torch.equal(latent["z"], torch.stack([method.latents.tensors[f"p{i}::z"] for i in range(3)]))
    wanted = method.frame.to_picture(faces.images)
    with torch.no_grad():
        before, after = (squared(painter.synthesise(latent), wanted) for painter in (method.generator, tuned))
    assert (after < before).all()


def test_pivots_from_a_file_are_kept_by_photo_whatever_comes_in_which_order(tmp_path):
    faces, aim = aim_of("dodge")
    order = [2, 0, 1]
    turned = Aim("dodge", aim.references[order], aim.labels[order], aim.gallery)
    method = cloak(latents=LatentFile(filed(tmp_path)))
    straight = method(faces, aim, [ToyTarget()], generator(1, "c"))
    kept = {name: id(pivot) for name, pivot in method._pivots.items()}
    shuffled = method(faces.select(order), turned, [ToyTarget()], generator(1, "c"))
    assert kept == {name: id(pivot) for name, pivot in method._pivots.items()}
    assert torch.allclose(straight[order], shuffled, atol=1e-4)
    fresh = cloak(latents=filed(tmp_path))(faces.select(order), turned, [ToyTarget()], generator(1, "c"))
    assert torch.allclose(fresh, shuffled, atol=1e-4)


def test_a_photo_without_a_latent_stops_everything_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("attacks.clip2protect.tune", lambda *_: pytest.fail("tuned before the file was checked"))
    faces, aim = aim_of("dodge")
    with pytest.raises(DataError, match=r"no latent of 1 of 3 photos, the first p2; it holds 2"):
        cloak(latents=filed(tmp_path, 2))(faces, aim, [ToyTarget()], generator(1, "c"))


def test_few_pivots_of_a_heavy_generator_are_kept(monkeypatch):
    faces, _ = photos()
    method = cloak()
    monkeypatch.setattr("attacks.clip2protect._WEIGHTS", sum(p.numel() for p in TinyGenerator().parameters()))
    for row in range(3):
        method.pivots(faces.select([row]))
    assert [name.split("/")[0] for name in method._pivots] == ["p2"]
    method.pivots(faces)  # a batch is always kept whole
    assert len(method._pivots) == 3


def test_raw_units_count_steps_in_the_latents_own_numbers():
    faces, aim = aim_of("dodge")
    latent = cloak().pivots(faces)[0]
    for raw, wanted in ((False, 0.5), (True, 1.0)):  # the unit of f7 is 0.5
        method = cloak(raw_units=raw, steps=1, step=1e-3)
        seen = []
        frame = method._picture
        method._picture = lambda scene, frame=frame, seen=seen: lambda now: seen.append(now) or frame(scene)(now)
        method(faces, aim, [ToyTarget()], generator(1, "c"))
        change = (seen[-1]["f7"] - latent["f7"]).abs()
        assert float(change.max()) == pytest.approx(wanted * 1e-3, rel=0.05)


def test_the_regulariser_holds_the_layers_it_counts_and_no_others():
    faces, aim = aim_of("dodge")

    def moved(regularised):
        method = cloak(free=("z", "f7"), regularised=regularised, regulariser=100.0, raw_units=True, step=0.05)
        latent, seen, picture = method.pivots(faces)[0], [], method._picture
        method._picture = lambda scene: lambda now: seen.append(now) or picture(scene)(now)
        method(faces, aim, [ToyTarget()], generator(1, "c"))
        return [float((seen[-1][layer] - latent[layer]).abs().mean()) for layer in ("z", "f7")]

    all_held, z_held = moved(None), moved(["z"])
    assert z_held[1] > 3 * all_held[1] and z_held[0] < 1.5 * all_held[0]
    with pytest.raises(ConfigError, match="found z in regularised, wanted free layers"):
        cloak(regularised=["z"])


class Large(TinyGenerator):
    """The same picture, with every pixel four times as wide."""

    resolution = 4 * TinyGenerator.resolution
    landmarks = tuple(((x + 0.5) * 4 - 0.5, (y + 0.5) * 4 - 0.5) for x, y in TinyGenerator.landmarks)

    def synthesise(self, latent):
        return functional.interpolate(super().synthesise(latent), scale_factor=4, mode="nearest")


def test_a_large_generator_acts_as_its_picture_averaged_down():
    faces, aim = aim_of("dodge")
    chips = [
        Clip2Protect(painter, squared, PIVOTING, free=("f7",), steps=5, step=0.2, rendering="generator", side=28)(
            faces, aim, [ToyTarget()], generator(1, "c")
        )
        for painter in (TinyGenerator(), Large())
    ]
    assert torch.allclose(*chips, atol=1e-3)
    with pytest.raises(ConfigError, match="112 pixels and side 100"):
        Clip2Protect(Large(), squared, PIVOTING, free=("f7",), side=100)


@pytest.mark.parametrize("where", ["free", "pivoting"])
def test_a_layer_that_the_generator_does_not_have_is_refused_before_any_work(where):
    changes = {"free": ("w8", "f7")} if where == "free" else {"pivoting": Pivoting(layers=("w8",))}
    with pytest.raises(ConfigError, match=r"found w8 in .*, wanted some of the layers of tiny: z, f7\."):
        Clip2Protect(TinyGenerator(), squared, **({"pivoting": PIVOTING, "free": ("f7",)} | changes))


def test_no_surrogate_is_refused():
    faces, aim = aim_of("dodge")
    with pytest.raises(ConfigError, match="surrogate"):
        cloak()(faces, aim, [], generator(1, "c"))
