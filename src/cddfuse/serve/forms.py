"""The fields of forms beside their files."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cddfuse.explain import Settings as ExplainSettings
from cddfuse.io.video.settings import Layout

Bits = Literal["auto", "8", "16"]


class PairForm(BaseModel):
    """How a pair is read, and which network it is for."""

    model_config = ConfigDict(extra="forbid")

    network: str = Field("", description="One of /v1/networks; empty is the first of them.")
    resize: bool = Field(False, description="Bring the second image to the size of the first.")
    range: str = Field(
        "",
        max_length=200,
        description="Values that become black and white: auto (as if empty), full, minmax, "
        "percentile:P or LOW:HIGH, in degrees LOW:HIGHC; for both images, or after first= or "
        "second=, with a blank between.",
    )


class FuseForm(PairForm):
    """How a pair is fused."""

    colour: Literal["ycbcr", "lab", "per-channel", "grey"] = Field(
        "ycbcr", description="Where the colour comes from, as for cddfuse fuse."
    )
    stretch: bool = Field(False, description="Stretch the result to the full range.")


class ClipForm(FuseForm):
    """How a clip is fused."""

    layout: Literal["", Layout] = Field(
        "", description="How one clip holds both sides; empty where there are two clips."
    )
    offset: float = Field(
        0,
        ge=-3600,
        le=3600,
        description="Seconds: time t of the first clip is time t + offset of the second.",
    )


class FileForm(FuseForm):
    """How a pair is fused, and written."""

    format: Literal["png", "tiff", "jpeg"] = "png"
    bits: Bits = Field(
        "auto",
        description="Per channel; auto is 16 where a source has more than 8 and the format holds "
        "them. JPEG has 8.",
    )


class ScoreForm(FuseForm):
    """How a fused image is scored."""

    metrics: str = Field(
        "", max_length=400, description="Names with blanks in between; empty are eight of papers."
    )
    profile: str = Field("paper", description="Which implementations, as for cddfuse evaluate.")


class FeatureForm(PairForm):
    """How a pair is taken apart."""

    size: int = Field(
        ExplainSettings.size,
        ge=32,
        le=640,
        description="Longest side in pixels; larger images are reduced to it.",
    )
