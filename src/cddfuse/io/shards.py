"""Shares of a folder, for jobs that do not know of each other.

Which share a pair belongs to depends on its name alone, so the shares of a folder are disjoint and
together hold all of it, on every machine and in every run.
"""

import hashlib
import re
from typing import NamedTuple

from cddfuse.errors import InputError

_MOST = 10**6


class Shard(NamedTuple):
    """One of several shares."""

    number: int
    """From 1 to `total`."""

    total: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The shard of a text such as `3/64`."""
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*/\s*([0-9]{1,9})\s*", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.total <= _MOST:
            raise InputError(f"there is no shard {text}: write 3/64 for the third of 64.", "shard")
        return shard

    def holds(self, name: str) -> bool:
        """Whether it holds what has that name."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.total == self.number - 1
