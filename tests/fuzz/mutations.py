"""Damage to bytes, as transfers, disks and hostile hands cause it. Repeatable by the generator."""

from collections.abc import Callable, Sequence
from random import Random

_WHOLE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000)
_LONG = (0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_HEAD = 256  # bytes in which most of a format is decided
_MOST = 8


def mutated(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """A damaged copy: one to eight changes, half of them near the start.

    Args:
        data: of a valid file.
        random: decides everything.
        others: further files, parts of which may be spliced in.
    """
    found = bytearray(data)
    for _ in range(1 + min(int(random.expovariate(0.8)), _MOST - 1)):
        if len(found) < 2:
            break
        random.choice(_CHANGES)(found, random, others)
    return bytes(found)


def _place(data: bytearray, random: Random) -> int:
    near = len(data) > _HEAD and random.random() < 0.5
    return random.randrange(_HEAD if near else len(data))


def _bit(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    data[_place(data, random)] ^= 1 << random.randrange(8)


def _byte(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    data[_place(data, random)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))


def _number(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A whole number that programs go wrong with, in 2 or 4 bytes of either order."""
    size = random.choice((2, 4))
    value = random.choice((*_WHOLE, *(_LONG if size == 4 else ()))) % 256**size
    at = _place(data, random)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def _cut(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    del data[max(1, _place(data, random)) :]


def _lose(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 4, 16, random.randrange(1, len(data))))]
    if not data:
        data += b"\0"


def _blank(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at, size = _place(data, random), random.choice((4, 64, 512))
    stop = min(len(data), at + size)
    data[at:stop] = bytes((random.choice((0, 0xFF)),)) * (stop - at)


def _repeat(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    part = data[at : at + random.choice((1, 4, 16, 256))]
    data[at:at] = part * random.choice((1, 1, 2, 64))


def _noise(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    at = _place(data, random)
    part = random.randbytes(random.choice((1, 3, 32)))
    data[at : at + random.choice((0, len(part)))] = part


def _splice(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    other = random.choice(others) if others else bytes(data)
    start = random.randrange(max(1, len(other)))
    at = _place(data, random)
    data[at : at + random.choice((0, 64, len(data)))] = other[start : start + 1024]


_CHANGES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_bit, _byte, _byte, _number, _number, _number),
    *(_cut, _lose, _blank, _repeat, _noise, _splice),
)
