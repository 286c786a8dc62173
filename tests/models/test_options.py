"""Options of networks come as text or as values, and what is wrong lists what is right."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from cddfuse.errors import InputError
from cddfuse.models import MODELS, Card, FusionModel, create_model
from cddfuse.models.options import checked_options, known_options


class Many(FusionModel):
    """One option of each kind."""

    card = Card(name="many", paper="")

    def __init__(
        self,
        rule: Literal["sum", "mean"] = "sum",
        width: int = 16,
        gain: float = 1.0,
        skip: bool = False,
        blocks: Sequence[int] = (2, 2),
        level: Literal[1, 2] = 1,
        name: str = "",
    ) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rule", "mean", "mean"),
        ("width", "32", 32),
        ("gain", "0.5", 0.5),
        ("gain", 2, 2.0),
        ("skip", "true", True),
        ("skip", "No", False),
        ("skip", True, True),
        ("blocks", "4,4,6", (4, 4, 6)),
        ("blocks", [4, 4], (4, 4)),
        ("level", "2", 2),
        ("name", "3", "3"),
    ],
)
def test_text_becomes_what_the_constructor_takes(name: str, text: Any, value: Any) -> None:
    found = checked_options(Many, {name: text})[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("rule", "max", "many takes sum or mean for rule, not max."),
        ("width", "3.5", "many takes a whole number for width, not 3.5."),
        ("width", 3.5, "many takes a whole number for width, not 3.5."),
        ("gain", "much", "many takes a number for gain, not much."),
        ("skip", "maybe", "many takes true or false for skip, not maybe."),
        ("blocks", "4;4", "many takes a whole number, and more after commas for blocks, not 4;4."),
        ("level", 3, "many takes 1 or 2 for level, not 3."),
    ],
)
def test_other_values_are_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        checked_options(Many, {name: value})
    assert str(caught.value) == said
    assert caught.value.setting == "option"


def test_an_unknown_option_lists_the_known_ones() -> None:
    said = r"^didfuse has no option rul: known are rule \(sum, average or activity\)\.$"
    with pytest.raises(InputError, match=said):
        create_model("didfuse", rul="sum")
    with pytest.raises(InputError, match=r"^max takes no options: leave rule out\.$"):
        create_model("max", rule="sum")


@pytest.mark.parametrize("name", MODELS)
def test_every_option_of_the_zoo_can_be_given_as_text(name: str) -> None:
    for option, hint in known_options(MODELS[name]).items():
        for value in getattr(hint, "__args__", ()):
            given = "4,4,6,6" if value is int else str(value)
            assert option in checked_options(MODELS[name], {option: given})


def test_options_over_those_of_weights_may_be_text() -> None:
    assert vars(create_model("cddfuse", "ivf", residual="sum"))["residual"] == "sum"
    with pytest.raises(InputError, match="cddfuse takes first, sum or none for residual, not all"):
        create_model("cddfuse", "ivf", residual="all")
