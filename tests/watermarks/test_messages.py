"""Messages: how they are drawn, and which are refused."""

import pytest
import torch

from facesec_bench.errors import ConfigError
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import check, check_chips, draw


def test_messages_are_fair_and_repeatable():
    messages = draw(500, 32, generator(0, "m"))
    assert messages.shape == (500, 32) and messages.dtype == torch.float32
    assert set(messages.unique().tolist()) == {0.0, 1.0}
    assert abs(messages.mean() - 0.5) < 4 * 0.5 / 16000**0.5
    assert torch.equal(messages, draw(500, 32, generator(0, "m")))
    assert not torch.equal(messages, draw(500, 32, generator(1, "m")))


@pytest.mark.parametrize(("n", "bits"), [(-1, 8), (3, 0)])
def test_impossible_messages_are_not_drawn(n, bits):
    with pytest.raises(ConfigError, match="wanted 0 or more messages"):
        draw(n, bits, generator(0, "m"))


@pytest.mark.parametrize("shape", [(2, 4), (1, 8), (8,), (2, 8, 1)])
def test_a_message_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ConfigError, match=r"x: found messages .*wanted \(2, 8\)"):
        check("x", 8, torch.zeros(2, 3, 16, 16), torch.zeros(shape))


@pytest.mark.parametrize("value", [-1.0, 0.5, float("nan")])
def test_a_bit_that_is_neither_0_nor_1_is_refused(value):
    messages = torch.zeros(2, 8)
    messages[1, 3] = value
    with pytest.raises(ConfigError, match="wanted only 0 and 1"):
        check("x", 8, torch.zeros(2, 3, 16, 16), messages)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16), (2, 3, 16, 20)])
def test_chips_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ConfigError, match=r"wanted \(B, 3, 16, 16\)"):
        check_chips("x", torch.zeros(shape), side=16)


def test_right_chips_and_messages_pass():
    check("x", 8, torch.zeros(2, 3, 16, 20), torch.ones(2, 8))
