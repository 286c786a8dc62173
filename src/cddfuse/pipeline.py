"""The one loop from any source to any sink.

The next entries are read and the last results written while the network works. An entry that
fails is recorded and the others are done.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from cddfuse.colour import Colour
from cddfuse.errors import InputError, trouble
from cddfuse.fuse import fuse
from cddfuse.history import History
from cddfuse.io.metadata import Metadata
from cddfuse.io.source import Entry, Loaded, Sink, Source
from cddfuse.models.base import FusionModel
from cddfuse.registration import Offset, offset
from cddfuse.runtime import Limits

_AHEAD = 2  # entries read before they are needed
# Alignment is checked at all pairs of a short source, and at every fourth or fewer of a long one.
_SHORT, _EVERY, _MOST = 8, 4, 32

Content = TypeVar("Content")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Options:
    """How pairs are fused."""

    grey: bool = False
    """Leave the colour out."""

    stretch: bool = False
    """Stretch each result to the full range, as in published tables."""

    limits: Limits | None = None
    """Tiles, memory and precision; None chooses them."""

    colour: Colour = "ycbcr"
    """Where the colour comes from."""

    check: bool = False
    """Look whether pairs are aligned; of many, at a quarter and at most 32, evenly spaced."""

    history: History | None = None
    """For the frames of a clip: keeps what the network and the stretch compute from whole images
    steady."""


@dataclass
class Summary:
    """What became of the entries of a source, by name."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Entries whose results were there already."""

    failed: dict[str, InputError] = field(default_factory=dict)
    seconds: float = 0.0
    checked: int = 0
    """Pairs whose alignment was checked."""

    misaligned: dict[str, Offset] = field(default_factory=dict)
    """Those that look misaligned."""


def fuse_all(
    model: FusionModel,
    source: Source[Loaded],
    sink: Sink,
    options: Options | None = None,
    *,
    after: Callable[[str], None] = lambda name: None,
    summary: Summary | None = None,
) -> Summary:
    """Fuse all pairs of a source into a sink. Results that exist are kept, so a run resumes.

    Args:
        model: in evaluation mode, on its device.
        source: see `cddfuse.io.formats.open_source`.
        sink: see `cddfuse.io.formats.open_sink`. It is closed at the end.
        options: how to fuse.
        after: called with the name of each entry that is done, kept or failed.
        summary: is filled and returned, so that it is there also where this is stopped.
    """
    options = options or Options()
    check = _Check(source.length) if options.check else None

    def work(loaded: Loaded) -> tuple[Tensor, Metadata]:
        with options.history.frame() if options.history else nullcontext():
            image = fuse(
                model,
                loaded.pair,
                grey=options.grey,
                stretch=options.stretch,
                limits=options.limits,
                colour=options.colour,
                covered=loaded.covered,
            )
        if check:
            check.look(loaded)
        return image, loaded.metadata

    def finish(name: str, result: tuple[Tensor, Metadata]) -> bool:
        return sink.write(name, *result)

    try:
        summary = process(source, work, finish, "fuse", keep=sink.has, after=after, summary=summary)
    except BaseException:
        sink.abandon()
        raise
    sink.close()
    if check:
        summary.checked, summary.misaligned = check.count, check.found
    return summary


class _Check:
    """Looks for pairs that are misaligned, at a part of them that costs little beside fusing."""

    def __init__(self, length: int | None) -> None:
        self.step = 1 if length and length <= _SHORT else max(_EVERY, -(-(length or 0) // _MOST))
        self.place = self.count = 0
        self.found: dict[str, Offset] = {}

    def look(self, loaded: Loaded) -> None:
        """Check the pair if it is its turn."""
        if self.place % self.step == 0 and self.count < _MOST and (off := offset(loaded.pair)):
            self.count += 1
            if off.suspicious:
                self.found[loaded.pair.name] = off
        self.place += 1


def process(
    source: Source[Content],
    work: Callable[[Content], Result],
    finish: Callable[[str, Result], bool],
    doing: str,
    *,
    keep: Callable[[str], bool] = lambda name: False,
    after: Callable[[str], None] = lambda name: None,
    readers: int = 2,
    finishers: int = 1,
    summary: Summary | None = None,
) -> Summary:
    """Read, work on and finish the entries of a source, in three overlapping steps.

    Args:
        source: what to process.
        work: called in the calling thread, in order.
        finish: called with name and result in another thread; False if nothing had to be done.
        doing: the verb that messages use for `work`.
        keep: whether an entry needs nothing; asked just before it would be read.
        after: called with each name, in order, when its entry is out of the way.
        readers: threads that read, where the source allows it.
        finishers: threads that finish.
        summary: is filled and returned, see `fuse_all`.
    """
    summary, started = Summary() if summary is None else summary, time.monotonic()
    waiting: deque[tuple[str, Future[bool]]] = deque()

    def note(name: str, finished: Future[bool]) -> None:
        try:
            (summary.done if finished.result() else summary.kept).append(name)
        except InputError as error:
            summary.failed[name] = error

    def note_rest() -> None:
        """Of a run that was stopped; other errors are being raised already."""
        for each in waiting:
            with suppress(Exception):
                note(*each)

    def settle() -> None:
        note(*waiting[0])  # where it stays if this is interrupted
        after(waiting.popleft()[0])

    with ExitStack() as stack:
        stack.callback(note_rest)
        pool = stack.enter_context(ThreadPoolExecutor(finishers))
        try:
            for entry, reading in _read_ahead(source, keep, readers):
                finished: Future[bool] = Future()
                try:
                    content = reading.result()
                    if content is None:
                        finished.set_result(False)
                    else:
                        with trouble(f"{doing} {entry.origin}"):
                            result = work(*content)
                        finished = pool.submit(_finish, finish, entry, result)
                except InputError as error:
                    finished.set_exception(error)
                waiting.append((entry.name, finished))
                while len(waiting) >= finishers + 1:
                    settle()
        except InputError:  # of the source itself: what has been fused is kept
            while waiting:
                settle()
            raise
        while waiting:
            settle()
    summary.seconds = time.monotonic() - started
    return summary


def _read_ahead(
    source: Source[Content], keep: Callable[[str], bool], readers: int
) -> Iterator[tuple[Entry[Content], "Future[tuple[Content] | None]"]]:
    """Entries in order with what was read, or None for what is kept."""
    entries = iter(source)
    with ThreadPoolExecutor(1) as lister, ThreadPoolExecutor(readers) as pool:

        def advance() -> "tuple[Entry[Content], Future[tuple[Content] | None]] | None":
            entry = next(entries, None)
            return entry and (entry, pool.submit(_read, entry, keep))

        pending = deque(lister.submit(advance) for _ in range(_AHEAD + 1))
        while found := pending.popleft().result():
            pending.append(lister.submit(advance))
            yield found


def _read(entry: Entry[Content], keep: Callable[[str], bool]) -> tuple[Content] | None:
    if keep(entry.name):
        return None
    # Decoders raise exceptions of many kinds when a file is damaged.
    with trouble(f"read {entry.origin}", Exception):
        return (entry.read(),)


def _finish(finish: Callable[[str, Result], bool], entry: Entry[Content], result: Result) -> bool:
    with trouble(f"write the result of {entry.origin}"):
        return finish(entry.name, result)
