"""How far a kept image is from its source: the same however many are measured at once."""

import pytest
import torch

from facesec_bench.protocols import fidelity


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    source = torch.rand(5, 3, 32, 32, generator=rng)
    return (source + 0.1 * torch.randn(source.shape, generator=rng)).clamp(0, 1), source


class Watched:
    """LPIPS's stand-in, which notes how many it was given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(one))
        return (one - other).abs().mean((1, 2, 3))


def judged(batch_size: int, lpips: Watched) -> list[fidelity.Record]:
    kept, source = pictures()
    keys, names = [f"k{i}" for i in range(5)], list("aabbc")
    return fidelity.judge(kept, source, keys, names, method="m", victim="v", lpips=lpips, batch_size=batch_size)


def test_measuring_a_few_at_a_time_gives_the_rows_of_all_at_once():
    few, all_at_once = Watched(), Watched()
    one, other = judged(2, few), judged(5, all_at_once)
    assert (few.seen, all_at_once.seen) == ([2, 2, 1], [5])
    assert [r[:5] for r in one] == [r[:5] for r in other] and len(one) == 20
    assert [r.value for r in one] == pytest.approx([r.value for r in other], abs=1e-5)


def test_each_row_is_of_its_own_image():
    kept, source = pictures()
    found = [r.value for r in judged(2, Watched()) if r.measure == "linf_255"]
    assert found == pytest.approx(((kept - source).abs().amax((1, 2, 3)) * 255).tolist(), abs=1e-4)
