"""Flags of `fuse` about pairs that are not registered, and what it says about them."""

from dataclasses import dataclass
from pathlib import Path

from cyclopts import Parameter

from cddfuse.cli.common import Flag
from cddfuse.io import expanded
from cddfuse.io.transforms import read_transform
from cddfuse.pipeline import Summary
from cddfuse.registration import Transform

_CURE = "`cddfuse align` finds a transform for --transform, --no-check skips this check"


@Parameter(name="*", group="Alignment")
@dataclass(frozen=True)
class AlignmentFlags:
    """For pairs that are not registered."""

    transform: Path | None = None
    """File of `cddfuse align` that says where the second images lie; one for all pairs of a folder.
    What the second image does not cover is the first image alone."""

    no_check: Flag = False
    """Skip the check whether pairs look misaligned; of a folder, a quarter is checked."""

    def read(self) -> Transform | None:
        """The transform of the file, if there is one."""
        return read_transform(expanded(self.transform)) if self.transform else None


def warning(summary: Summary, many: bool) -> str:
    """The sentence about pairs that look misaligned; empty if there are none."""
    if not summary.misaligned:
        return ""
    name, off = max(summary.misaligned.items(), key=lambda item: item[1].gain)
    by = f"by about {off.distance:.0f} px"
    if not many:
        return f"warning: the images look misaligned {by}: {_CURE}"
    count = f"{len(summary.misaligned)} of {summary.checked} checked pairs look misaligned"
    return f"warning: {count}, such as {name} {by}: {_CURE}"
