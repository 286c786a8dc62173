"""Flags of `serve`."""

import re
from dataclasses import dataclass, fields

from cyclopts import Parameter

from cddfuse.cli.common import Words
from cddfuse.serve.settings import Settings


@Parameter(name="*", group="Limits")
@dataclass(frozen=True)
class ServingFlags:
    """What a client may ask for."""

    max_megabytes: float = Settings.max_megabytes
    """Largest file that is taken."""

    max_megapixels: float = Settings.max_megapixels
    """Largest image that is decoded."""

    max_clip_megabytes: float = Settings.max_clip_megabytes
    """Largest clip that is taken; the fused one may have twice that."""

    max_clip_frames: int = Settings.max_clip_frames
    """Frames of the longest clip that is taken."""

    max_clip_megapixels: float = Settings.max_clip_megapixels
    """Largest frame of a clip that is decoded."""

    jobs: int = Settings.jobs
    """Requests that are worked on at a time."""

    waiting: int = Settings.waiting
    """Requests that may wait; others are told when to come again."""

    seconds: float = Settings.seconds
    """Time limit of the work on one request."""

    clip_seconds: float = Settings.clip_seconds
    """Time limit of the work on one clip."""

    upload_seconds: float = Settings.upload_seconds
    """Time limit of an upload."""

    allow_host: Words = ()
    """Names by which the service may be called beside localhost, such as that of a proxy; * are
    all."""

    def settings(self, models: tuple[str, ...], device: str, host: str) -> Settings:
        """The settings, as the library takes them."""
        hosts = (*Settings.hosts, host, *self.allow_host)
        return Settings(
            models,
            device,
            hosts=() if "*" in hosts else tuple(dict.fromkeys(map(_called, hosts))),
            **{x.name: getattr(self, x.name) for x in fields(self) if x.name != "allow_host"},
        )


def _called(host: str) -> str:
    """A host as clients call it: an address of IPv6 in brackets, and without a port."""
    host = host.lower()
    if host.count(":") > 1 and not host.startswith("["):
        return f"[{host}]"
    return re.sub(r":\d+$", "", host)
