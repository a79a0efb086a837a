import pytest
import torch
from torch.nn import functional as F

from lomt.models import DECODERS, DeepLab, Head, Light, decoder
from lomt.models.deeplab import AtrousConv
from lomt.tasks import Classification, Depth, Regression, Segmentation

DENSE = Segmentation("seg", 5)
VECTOR = Classification("room", 4)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("count", [1, 3])
def test_a_decoder_gives_its_task_s_channels_and_learns_everywhere(name, count):
    task = DENSE if DECODERS[name].dense else VECTOR
    made = DECODERS[name](12, task).train()
    output = made(torch.randn(count, 12, 6, 8))
    assert output.shape == ((count, 5, 6, 8) if task.dense else (count, 4))
    output.square().sum().backward()
    for parameter_name, parameter in made.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0 or parameter_name == "branches.3.0.weight", parameter_name


@pytest.mark.parametrize("rate", [1, 12, 24, 36])
@pytest.mark.parametrize("size", [(32, 32), (12, 16), (16, 12), (5, 40), (1, 1), (64, 80)])
def test_leaving_out_what_only_meets_padding_changes_nothing(rate, size):
    conv = AtrousConv(2, 2, rate).double()
    x = torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True)
    dilation = max(1, round(rate * min(size) / 32))
    whole = F.conv2d(x, conv.weight, padding=dilation, dilation=dilation)
    torch.testing.assert_close(conv(x), whole)
    wanted = torch.autograd.grad(whole.square().sum(), (x, conv.weight))
    got = torch.autograd.grad(conv(x).square().sum(), (x, conv.weight))
    torch.testing.assert_close(got, wanted)


def test_rates_are_those_of_the_paper_on_its_map():
    seen = []

    def note(_input, _weight, _bias, _stride, _padding, dilation):
        seen.append(dilation)
        return torch.zeros(1, 4, 32, 32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lomt.models.deeplab.F.conv2d", note)
        for rate in (12, 24, 36):
            AtrousConv(3, 4, rate)(torch.zeros(1, 3, 32, 32))
    assert seen == [12, 24, 36]


def test_options_reach_the_decoder():
    made = DeepLab(8, DENSE, width=16, rates=(1, 2), dropout=0.1)
    assert made.branches[0][0].out_channels == 16
    assert len(made.branches) == 3
    assert made.project[1].p == 0.1
    assert DeepLab(8, DENSE).branches[0][0].out_channels == 256
    assert Light(8, DENSE, width=7).mix[0].in_channels == 7
    assert Head(8, VECTOR, width=5, hidden=6).predict.in_features == 6
    assert isinstance(decoder("light", width=7)(8, DENSE), Light)


def test_without_a_name_the_kind_of_task_decides():
    make = decoder(width=16)
    assert make(8, DENSE).branches[0][0].out_channels == 16
    assert isinstance(make(8, Regression("age")), Head)
    assert isinstance(decoder("head")(8, Depth("depth")), DeepLab)


@pytest.mark.parametrize(("kind", "task"), [(DeepLab, VECTOR), (Light, VECTOR), (Head, DENSE)])
def test_a_decoder_of_the_wrong_kind_is_refused(kind, task):
    with pytest.raises(ValueError, match=rf"decoder {kind.__name__} gives .*task '{task.name}' wants"):
        kind(8, task)


def test_an_unknown_decoder_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown decoder 'deep': choose one of deeplab, light, head"):
        decoder("deep")
