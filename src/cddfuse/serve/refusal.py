"""What clients are told of a request that is not answered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cddfuse.errors import InputError


@dataclass
class RefusedError(Exception):
    """A request that is not answered, with the status and one sentence."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    field: str | None = None
    """The field of the form that cures it."""

    def content(self) -> dict[str, str]:
        """The body of the answer."""
        return {"detail": self.detail, **({"field": self.field} if self.field else {})}


class LeftError(Exception):
    """The client has left, or the time is up: nobody waits for the result."""


@contextmanager
def refused_as(
    status: int, fields: tuple[str, ...] = (), too_large: tuple[str, ...] = ()
) -> Iterator[None]:
    """Turn errors caused by the input into refusals with that status.

    Args:
        status: of the answer.
        fields: of the form, one of which the error may name as its cure.
        too_large: settings of limits; errors that name one of them get the status 413.
    """
    try:
        yield
    except InputError as error:
        settings = (error.setting,) if isinstance(error.setting, str) else error.setting or ()
        cure = next((name for name in settings if name in fields), None)
        status = 413 if any(name in too_large for name in settings) else status
        raise RefusedError(status, " ".join(str(error).split()), field=cure) from error
