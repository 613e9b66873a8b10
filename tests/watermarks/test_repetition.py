"""The repetition code, on a watermarker whose scores are known."""

import pytest
import torch

from facesec_bench.errors import ConfigError
from facesec_bench.search import borrowed
from facesec_bench.seeds import generator
from facesec_bench.watermarks.messages import draw
from facesec_bench.watermarks.repetition import Repetition
from facesec_bench.watermarks.spread_spectrum import SpreadSpectrum


class Notebook:
    """Remembers the message it was given; reads back the scores it is told to."""

    name, bits, differentiable, digest = "notebook", 7, True, "0" * 64

    def encode(self, chips: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        self.messages = messages
        return chips

    def decode(self, chips: torch.Tensor) -> torch.Tensor:
        return self.scores


class Network(Notebook, torch.nn.Module):
    """A notebook with a weight, that marks with several messages at once."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.asked = 0

    def encode(self, chips: torch.Tensor, messages: torch.Tensor) -> torch.Tensor:
        return chips * self.weight + 0.01 * messages.mean(1)[:, None, None, None]

    def encode_each(self, chips: torch.Tensor, messages: list[torch.Tensor]) -> list[torch.Tensor]:
        self.asked += 1
        return [self.encode(chips, message) for message in messages]


def test_the_carrier_moves_and_is_lent_with_its_repetition():
    network = Network()
    short = Repetition(network, 3)
    assert isinstance(short, torch.nn.Module) and [*short.parameters()] == [network.weight]
    with borrowed(short):
        assert not network.training and not network.weight.requires_grad
    assert network.training and network.weight.requires_grad
    short.to("meta")
    assert network.weight.device.type == "meta"
    assert Repetition(Notebook(), 3).to("cpu").bits == 3, "a carrier that is no module stays as it is"


def test_several_messages_go_at_once_only_where_the_carrier_can():
    assert getattr(Repetition(Notebook(), 3), "encode_each", None) is None
    network = Network()
    short, chips = Repetition(network, 3), torch.rand(2, 3, 8, 8, generator=generator(0, "chips"))
    messages = [draw(2, 3, generator(i, "messages")) for i in range(3)]
    marked = short.encode_each(chips, messages)
    assert network.asked == 1 and len(marked) == 3
    assert all(torch.equal(m, short.encode(chips, message)) for m, message in zip(marked, messages, strict=True))
    with pytest.raises(ConfigError, match="notebook_3bit: found messages"):
        short.encode_each(chips, [torch.zeros(2, 7)])


def test_payload_is_interleaved_and_every_second_copy_inverted():
    notebook = Notebook()
    Repetition(notebook, 3).encode(torch.zeros(1, 3, 8, 8), torch.tensor([[1.0, 0.0, 0.0]]))
    assert notebook.messages.tolist() == [[1, 0, 0, 0, 1, 1, 1]]


def test_scores_of_the_copies_are_added_by_their_sign():
    notebook = Notebook()
    notebook.scores = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]])
    assert Repetition(notebook, 3).decode(torch.zeros(1, 3, 8, 8)).tolist() == [[57, -14, -28]]


def test_one_sure_copy_outvotes_two_doubtful_ones():
    notebook = Notebook()
    notebook.scores = torch.tensor([[5.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0]])
    assert Repetition(notebook, 3).decode(torch.zeros(1, 3, 8, 8))[0, 0] == 3


def test_a_full_payload_is_the_watermarker_itself():
    carrier, chips = SpreadSpectrum(bits=6), torch.full((2, 3, 224, 224), 0.5)
    messages = draw(2, 6, generator(0, "messages"))
    assert torch.equal(Repetition(carrier, 6).encode(chips, messages), carrier.encode(chips, messages))
    assert Repetition(carrier, 6).name == "spread_spectrum"


def test_a_payload_is_read_back_after_real_marking():
    short, chips = Repetition(SpreadSpectrum(bits=7), 3), torch.full((8, 3, 224, 224), 0.5)
    payloads = torch.tensor([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)]).float()
    assert ((short.decode(short.encode(chips, payloads)) > 0) == (payloads > 0)).all()


def test_name_digest_and_gradient_tell_the_carrier_and_the_payload():
    carrier = SpreadSpectrum(bits=6)
    short = Repetition(carrier, 2)
    assert short.name == "spread_spectrum_2bit" and short.bits == 2 and short.differentiable
    assert len({short.digest, Repetition(carrier, 3).digest, carrier.digest}) == 3
    chips = torch.full((1, 3, 224, 224), 0.5, requires_grad=True)
    short.encode(chips, torch.ones(1, 2)).sum().backward()
    assert chips.grad.abs().max() > 0


@pytest.mark.parametrize("bits", [0, 8])
def test_payloads_beyond_the_capacity_are_refused(bits):
    with pytest.raises(ConfigError, match=r"wanted 1 to 7, the capacity of notebook"):
        Repetition(Notebook(), bits)


def test_a_message_of_the_carriers_length_is_refused():
    with pytest.raises(ConfigError, match="notebook_3bit: found messages"):
        Repetition(Notebook(), 3).encode(torch.zeros(1, 3, 8, 8), torch.zeros(1, 7))
