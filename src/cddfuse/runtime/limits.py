"""Resource limits of fusing: tiles, memory, precision, kernels and how they are launched."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from cddfuse.errors import InputError

SMALLEST_TILE = 64
Progress = Callable[[float], None]
Kernels = Literal["auto", "eager", "compile", "triton"]


@dataclass(frozen=True)
class Limits:
    """Resource limits; automatic by default."""

    tile: int = 0
    """Side of tiles in pixels; 0 fuses an image in one piece if it fits into memory."""

    memory: int = 0
    """Memory budget for feature maps in bytes; 0 is 70 % of what is free."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic; auto is bf16 on GPUs that have it for networks whose card says so, fp32
    elsewhere. Norms and exponentials stay in fp32."""

    progress: Progress | None = field(default=None, compare=False)
    """Called with the finished share of an image, for CDDFuse in patches or tiles."""

    kernels: Kernels = "auto"
    """What computes CDDFuse over whole images. auto is what was measured to be best on the device;
    the others are made for GPUs, where none of them has been measured yet: few operations of
    PyTorch (eager), the same compiled by torch.compile, or by kernels of ours in Triton."""

    band: int = 0
    """Rows of feature maps that chosen kernels compute at a time where they can, so that the widest
    maps stay in the cache of a GPU; 0 is all rows. Not measured on a GPU yet."""

    graphs: bool = False
    """Capture a GPU's work in CUDA graphs, and replay it where images of one size follow each
    other; the result is the same. Not measured on a GPU yet."""

    def __post_init__(self) -> None:
        if self.kernels not in get_args(Kernels):
            known = ", ".join(get_args(Kernels))
            raise InputError(f"kernels are {self.kernels!r}: use {known}.", setting="kernels")
        if self.tile and self.kernels != "auto":
            text = f"{self.kernels} computes whole images: leave out the tile, or the kernels."
            raise InputError(text, setting=("tile", "kernels"))
        if self.band < 0:
            raise InputError(f"a band of {self.band} rows: use 0 or more.", setting="band")
        if self.band and self.kernels == "auto":
            text = "bands of rows are for chosen kernels: choose some, or leave out the band."
            raise InputError(text, setting=("band", "kernels"))
        if self.tile < 0 or 0 < self.tile < SMALLEST_TILE:
            text = f"a tile of {self.tile} pixels is too small: {SMALLEST_TILE} or more."
            raise InputError(text, setting="tile")
        if self.memory < 0:
            text = f"memory is {self.memory} bytes: it must be positive."
            raise InputError(text, setting="memory")
