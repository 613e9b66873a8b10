"""Per-image copies of a generator's weights: image i is drawn by copy i, and no copy hears of another image."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from facesec_bench.generators.tuned import Tuned
from facesec_bench.seeds import generator
from facesec_bench.training import fit


class Small(nn.Module):
    """Two layers, an image of 8 x 8, and a buffer."""

    name, resolution, digest = "small", 8, ""

    def __init__(self):
        super().__init__()
        rng = generator(0, "small")
        self.lift = nn.Linear(5, 4 * 4 * 4)
        self.grow = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)
        self.register_buffer("level", torch.tensor(0.5))
        for parameter in self.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=rng)
        self.requires_grad_(False)

    def draw(self, count, rng):
        return {"z": torch.randn(count, 5, generator=rng)}

    def synthesise(self, latent):
        x = torch.relu(self.lift(latent["z"])).view(-1, 4, 4, 4)
        return self.level * (torch.tanh(self.grow(x)) + 1)


def apart(tuned: Tuned) -> Tuned:
    """Every copy moved away from the others."""
    rng = generator(0, "apart")
    for parameter in tuned.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng)
    return tuned


def train(latent: dict[str, Tensor], wanted: Tensor, steps: int = 6) -> Tuned:
    tuned = Tuned(Small(), len(wanted))
    fit(
        tuned,
        lambda step, rng: None,
        lambda _: (tuned.synthesise(latent) - wanted).square().mean((1, 2, 3)).sum(),
        optimiser=lambda p: torch.optim.Adam(p, lr=1e-2),
        steps=steps,
        rng=generator(0, "fit"),
    )
    return tuned


def targets(count: int = 4) -> tuple[dict[str, Tensor], Tensor]:
    rng = generator(0, "targets")
    return Small().draw(count, rng), torch.rand(count, 3, 8, 8, generator=rng)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_copies_begin_as_the_generator_and_the_generator_stays_as_it_is():
    small, before = Small(), Small()
    tuned, latent = Tuned(small, 3), targets(3)[0]
    assert torch.allclose(tuned.synthesise(latent), small.synthesise(latent), atol=1e-6)
    apart(tuned)
    assert same(small, before) and len(list(tuned.parameters())) == 3 * 4
    assert not any(p.requires_grad for p in tuned.parameters())


def test_image_i_is_drawn_by_copy_i_as_vmap_draws_it():
    tuned, latent = apart(Tuned(Small(), 3)), targets(3)[0]
    small = Small()
    small.forward = small.synthesise
    names = [name for name, _ in small.named_parameters()]
    stacked = {name: torch.stack([copy[j] for copy in tuned.copies]) for j, name in enumerate(names)}

    def one(weights, z):
        return functional_call(small, weights, ({"z": z[None]},))[0]

    assert torch.allclose(tuned.synthesise(latent), vmap(one)(stacked, latent["z"]), atol=1e-6)


def test_what_an_image_is_tuned_to_depends_neither_on_the_others_nor_on_their_order():
    latent, wanted = targets()
    whole = train(latent, wanted)
    order = torch.tensor([2, 0])
    some = train({"z": latent["z"][order]}, wanted[order])
    assert same(some.copies[0], whole.copies[2]) and same(some.copies[1], whole.copies[0])
    assert not same(whole.copies[0], Tuned(Small(), 1).copies[0]), "nothing was learned"


def test_rows_share_the_parameters_and_an_image_that_stopped_rests():
    latent, wanted = targets()
    tuned = Tuned(Small(), 4)
    part = tuned.rows(torch.tensor([3, 1]))
    assert part.copies[0][0] is tuned.copies[3][0] and len(part) == 2
    seen = []

    def loss(step):
        active = [0, 1, 2, 3] if step < 3 else [3, 1]
        drawn = tuned.rows(active).synthesise({"z": latent["z"][active]})
        return (drawn - wanted[active]).square().mean((1, 2, 3)).sum()

    def optimiser(parameters):
        seen.append(torch.optim.Adam(parameters, lr=1e-2))
        return seen[0]

    fit(tuned, lambda step, rng: step, loss, optimiser=optimiser, steps=6, rng=generator(0))
    long, short = train(latent, wanted, 6), train(latent, wanted, 3)
    assert same(tuned.copies[0], short.copies[0]) and same(tuned.copies[2], short.copies[2])
    assert same(tuned.copies[1], long.copies[1]) and same(tuned.copies[3], long.copies[3])
    steps = [int(seen[0].state[copy[0]]["step"]) for copy in tuned.copies]
    assert steps == [3, 6, 3, 6]


def test_gradients_reach_the_latent_and_each_copy_only_from_its_image():
    tuned, latent = Tuned(Small(), 2).requires_grad_(True), targets(2)[0]
    latent["z"].requires_grad_(True)
    first = list(tuned.copies[0].parameters())
    second = list(tuned.copies[1].parameters())
    drawn = tuned.synthesise(latent)[0].sum()
    own = torch.autograd.grad(drawn, [*first, latent["z"]], retain_graph=True)
    assert all(g.abs().max() > 0 for g in own)
    assert all(g is None or not g.any() for g in torch.autograd.grad(drawn, second, allow_unused=True))


def test_a_latent_for_another_number_of_images_is_refused():
    with pytest.raises(ValueError, match="holds 2 generators"):
        Tuned(Small(), 2).synthesise(targets(3)[0])
    with pytest.raises(TypeError, match="torch module"):
        Tuned(object(), 1)
