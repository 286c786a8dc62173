"""Limits of the service, and what it offers."""

import math
from dataclasses import dataclass

from cddfuse.errors import InputError

_POSITIVE = (
    *("max_megabytes", "max_megapixels"),
    *("max_clip_megabytes", "max_clip_frames", "max_clip_megapixels"),
    *("jobs", "seconds", "clip_seconds", "upload_seconds"),
)


@dataclass(frozen=True)
class Settings:
    """How images are served."""

    networks: tuple[str, ...] = ()
    """NAME or NAME=WEIGHTS, the first being the default; none are all that have weights."""

    device: str = "auto"
    """As for `cddfuse.models.load.find_device`."""

    max_megabytes: float = 20
    """Largest file that is taken, in units of 1,000,000 bytes."""

    max_megapixels: float = 8
    """Largest image that is decoded, in units of 1,000,000 pixels."""

    max_clip_megabytes: float = 50
    """Largest clip that is taken, in units of 1,000,000 bytes; results may be twice as large."""

    max_clip_frames: int = 600
    """Frames of the longest clip that is taken."""

    max_clip_megapixels: float = 2.1
    """Largest frame of a clip that is decoded, in units of 1,000,000 pixels."""

    jobs: int = 1
    """Requests that are worked on at a time."""

    waiting: int = 8
    """Requests that may wait for that, or be on their way; others are told to come again."""

    seconds: float = 120
    """Time limit of the work on one request."""

    clip_seconds: float = 600
    """Time limit of the work on one clip."""

    upload_seconds: float = 30
    """Time limit of an upload."""

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names by which the service may be called, against DNS rebinding; none are all."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                text = f"{name} is {getattr(self, name)}: it must be a number above 0."
                raise InputError(text, setting=name)
        if self.waiting < 0:
            raise InputError(f"waiting is {self.waiting}: it must be 0 or more.", "waiting")

    @property
    def file_bytes(self) -> int:
        """Largest file, in bytes."""
        return int(self.max_megabytes * 1e6)

    @property
    def clip_bytes(self) -> int:
        """Largest clip, in bytes."""
        return int(self.max_clip_megabytes * 1e6)

    @property
    def clip_pixels(self) -> int:
        """Largest frame of a clip, in pixels."""
        return int(self.max_clip_megapixels * 1e6)

    @property
    def pixels(self) -> int:
        """Largest image, in pixels."""
        return int(self.max_megapixels * 1e6)
