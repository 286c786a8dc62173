"""Flags of `fuse` for large folders."""

from dataclasses import dataclass

from cyclopts import Parameter

from cddfuse.io.shards import Shard


@Parameter(name="*", group="Large folders")
@dataclass(frozen=True)
class ScaleFlags:
    """How a folder is divided among machines."""

    shard: str | None = None
    """Fuse one share of the folder, such as 3/64 for the third of 64: each is a job of its own, and
    together they fuse every pair once. All have the value range of the whole folder."""

    def part(self) -> Shard | None:
        """The share, if there is one."""
        return Shard.parse(self.shard) if self.shard else None
