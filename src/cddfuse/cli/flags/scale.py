"""Flags of `fuse` for large folders."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from cddfuse.cli.common import NetworkFlags
from cddfuse.errors import InputError
from cddfuse.io.formats import Writing
from cddfuse.io.image_files import ImageFiles, ImagePairs
from cddfuse.io.shards import Shard
from cddfuse.io.source import Loaded, Sink, Source
from cddfuse.models import FusionModel
from cddfuse.pipeline import Options, Summary
from cddfuse.scale.key import facts_of, require_same


@Parameter(name="*", group="Large folders")
@dataclass(frozen=True)
class ScaleFlags:
    """How a folder is divided among machines."""

    shard: str | None = None
    """Fuse one share of the folder, such as 3/64 for the third of 64: each is a job of its own, and
    together they fuse every pair once. All have the value range of the whole folder."""

    engine: Literal["local", "ray"] = "local"
    """What divides the pairs: local is this process, ray workers of a Ray cluster."""

    address: str | None = None
    """Address of a Ray cluster, or auto; by default one is started on this machine."""

    workers: int | None = None
    """Workers of the Ray cluster, each with a network of its own; 2 by default."""

    threads: int | None = None
    """Threads, and CPUs of the cluster, of each worker; 1 by default."""

    def part(self) -> Shard | None:
        """The share, if there is one."""
        return Shard.parse(self.shard) if self.shard else None

    @property
    def shared(self) -> bool:
        """Whether other jobs may fuse into the same folder, by the same key and value range."""
        return bool(self.shard) or self.engine == "ray"

    def require_engine(self, source: Source[Loaded], output: Path) -> None:
        """Refuse settings of a cluster without one, and sources that it does not divide."""
        given = {name: getattr(self, name) for name in ("address", "workers", "threads")}
        for name, value in given.items():
            if self.engine == "local" and value is not None:
                raise InputError(f"{name} is for Ray: choose that engine.", "engine")
            if isinstance(value, int) and not 1 <= value <= 10_000:
                raise InputError(f"{name} is {value}: it must be from 1 to 10,000.", name)
        divisible = isinstance(source, ImagePairs) and source.folder and not output.suffix
        if self.engine == "ray" and not divisible:
            raise InputError(
                "only folders of images are divided among workers, into a folder: leave the engine "
                "out.",
                setting="engine",
            )

    def note(
        self, model: FusionModel, source: Source[Loaded], writing: Writing, options: Options
    ) -> None:
        """Refuse to mix the results of shards that differ in weights or settings."""
        if self.shard:
            assert isinstance(source, ImagePairs)
            facts = facts_of(model, source, writing, options)
            require_same(writing.output, facts, overwrite=writing.overwrite)

    def fuse(
        self,
        network: NetworkFlags,
        source: Source[Loaded],
        sink: Sink,
        writing: Writing,
        options: Options,
        after: Callable[[str], None],
        say: Callable[[str], None],
    ) -> Summary:
        """Fuse on the cluster."""
        from cddfuse.scale.ray_fuse import Cluster, fuse_on_ray

        assert isinstance(source, ImagePairs)
        assert isinstance(sink, ImageFiles)
        gpus = 1 if network.device.startswith("cuda") else 0
        cluster = Cluster(self.workers or 2, self.address, self.threads or 1, gpus)
        merged = fuse_on_ray(network.load, source, sink, writing, options, cluster, after=after)
        for machine, count in sorted(merged.machines.items()):
            say(f"{machine or 'no machine'}: {count} pairs")
        for note in merged.notes:
            say(note)
        if merged.lost:
            say(f"{merged.lost} workers died; others did their pairs")
        return merged
