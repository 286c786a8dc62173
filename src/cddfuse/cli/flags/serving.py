"""Flags of `serve`."""

from dataclasses import dataclass

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

    jobs: int = Settings.jobs
    """Requests that are worked on at a time."""

    waiting: int = Settings.waiting
    """Requests that may wait; others are told when to come again."""

    seconds: float = Settings.seconds
    """Time limit of the work on one request."""

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
            self.max_megabytes,
            self.max_megapixels,
            self.jobs,
            self.waiting,
            self.seconds,
            self.upload_seconds,
            () if "*" in hosts else tuple(dict.fromkeys(x.lower() for x in hosts)),
        )
