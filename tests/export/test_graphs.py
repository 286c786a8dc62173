"""The form that is written gives what the module gives."""

import pytest
import torch
from exporting import pair, shallow
from torch import nn

from cddfuse.export.graphs import Attention, Norm, rearranged
from cddfuse.models.cddfuse import CDDFuse, PixelLinear


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"residual": "none"},
        {"residual": "sum"},
        {"base": "invertible"},
        {"detail": "transformer"},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [(8, 8), (19, 34)], ids=str)
def test_rearranged_cddfuse_is_the_same(options: dict[str, str], size: tuple[int, int]) -> None:
    model = shallow(**options)
    first, second = (x[None] for x in pair(*size)[:2])
    with torch.inference_mode():
        expected, given = model(first, second), rearranged(model)(first, second)
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-6)


def test_nothing_is_left_of_the_old_form() -> None:
    graph = rearranged(shallow())
    kinds = {type(module) for module in graph.modules()}
    assert {Norm, Attention, nn.Conv2d} <= kinds
    assert PixelLinear not in kinds
    mixing = [x.mix for x in graph.modules() if isinstance(x, Attention) and x.dense]
    assert {x.weight.shape for x in mixing} == {(192, 64, 3, 3)}


def test_the_network_itself_stays_as_it_was() -> None:
    model = shallow()
    names = list(model.state_dict())
    rearranged(model)
    assert list(model.state_dict()) == names
    assert all(weight.requires_grad for weight in model.parameters())
    assert type(model.encoder) is type(CDDFuse().encoder)
