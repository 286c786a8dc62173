"""Options of networks: the arguments of their constructors, from text or from Python."""

import inspect
import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

from cddfuse.errors import InputError
from cddfuse.models.base import FusionModel

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_SEQUENCES = (Sequence, tuple, list)
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}


def checked_options(kind: type[FusionModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the constructor of a network, in the types that it is annotated with.

    Args:
        kind: class of the network.
        given: by name; text is parsed, such as "average", "3", "true" or "4,4,6,6".
    """
    known = known_options(kind)
    for name in given:
        if name not in known:
            listed = ", ".join(f"{name} ({described(hint)})" for name, hint in known.items())
            text = f"{kind.card.name} has no option {name}: known are {listed}."
            if not known:
                text = f"{kind.card.name} takes no options: leave {name} out."
            raise InputError(text, setting="option")
    return {name: _checked(kind, name, value, known[name]) for name, value in given.items()}


def known_options(kind: type[FusionModel]) -> dict[str, Any]:
    """Annotations of the arguments of a network's constructor, by name."""
    hints = get_type_hints(kind.__init__)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return {x.name: hints.get(x.name, Any) for x in parameters if x.kind in named}


def _checked(kind: type[FusionModel], name: str, value: Any, hint: Any) -> Any:
    try:
        return _parsed(value, hint)
    except (LookupError, TypeError, ValueError) as error:
        text = f"{kind.card.name} takes {described(hint)} for {name}, not {value}."
        raise InputError(text, setting="option") from error


def _parsed(value: Any, hint: Any) -> Any:
    """A value in an annotated type. Raises what the conversion does if it is none of it."""
    if get_origin(hint) is Literal:
        return {str(choice): choice for choice in get_args(hint)}[str(value)]
    if get_origin(hint) in _SEQUENCES:
        items = value.split(",") if isinstance(value, str) else value
        return tuple(_parsed(item, get_args(hint)[0]) for item in items)
    if hint is bool:
        return _WORDS[str(value).lower()]
    if hint is int:
        return int(value) if isinstance(value, str) else operator.index(value)
    return float(value) if hint is float else value


def described(hint: Any) -> str:
    """The values that an annotation allows, in words."""
    if get_origin(hint) is Literal:
        *most, last = map(str, get_args(hint))
        return f"{', '.join(most)} or {last}" if most else last
    if get_origin(hint) in _SEQUENCES:
        return f"{described(get_args(hint)[0])}, and more after commas"
    return _KINDS.get(hint, "a value")
