"""What is done with uploaded images, in a thread of the queue."""

import base64
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cddfuse.errors import trouble
from cddfuse.evaluate import published_grey
from cddfuse.evaluate.protocol import rows, stretched_rows
from cddfuse.explain import Settings as ExplainSettings
from cddfuse.explain import explain
from cddfuse.explain.features import displayed
from cddfuse.fuse import fuse
from cddfuse.io.encode import encoded, output_format
from cddfuse.io.images import paired, quantize
from cddfuse.io.metadata import Metadata
from cddfuse.io.ranges import Ranges
from cddfuse.metrics import PAPER_EIGHT, chosen, levels
from cddfuse.runtime import Limits
from cddfuse.serve.forms import FeatureForm, FileForm, FuseForm, PairForm, ScoreForm
from cddfuse.serve.networks import Networks
from cddfuse.serve.queue import Job
from cddfuse.serve.refusal import RefusedError, refused_as
from cddfuse.serve.uploads import Read, decoded, pair_of

_SUFFIXES = {"png": ".png", "tiff": ".tif", "jpeg": ".jpg"}
_FIELDS = ("network", "resize", "range", "colour", "stretch", "bits", "metrics", "profile", "size")

Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Worker:
    """What is done with uploaded images.

    Args:
        networks: that are offered.
        pixels: of the largest image.
    """

    networks: Networks
    pixels: int

    def fused_file(self, files: Files, form: FileForm, job: Job) -> bytes:
        """The bytes of the fused image in the format that was asked for."""
        read = self._read(files, form)
        fused = self._fused(read, form, job)
        suffix = _SUFFIXES[form.format]
        holds = suffix != ".jpg"
        deep = form.bits == "16" or (form.bits == "auto" and holds and read.bits == 16)
        with refused_as(422, _FIELDS):
            output_format(Path("result" + suffix), 16 if deep else 8)
        return _written(fused, suffix, deep=deep)

    def shown(self, files: Files, form: FuseForm, job: Job) -> dict[str, Any]:
        """The fused image and both sources as they were read, for a page."""
        read = self._read(files, form)
        fused = self._fused(read, form, job)
        height, width = fused.shape[-2:]
        return {
            "width": width,
            "height": height,
            "bits": read.bits,
            "network": form.network or self.networks.default,
            # Browsers do not show TIFF, 16 bits or counts, and turn images in ways of their own.
            "first": _text(_written(read.pair.first, ".jpg")),
            "second": _text(_written(read.pair.second, ".jpg")),
            "fused": _text(_written(fused, ".png")),
        }

    def scores(self, files: Files, form: ScoreForm, job: Job) -> dict[str, Any]:
        """Scores of the fused image, uploaded or made here, beside those of trivial ones."""
        with refused_as(422, _FIELDS):
            metrics = chosen(form.metrics.split() or PAPER_EIGHT, form.profile)
        read = self._read(files, form)
        fused = self._given(files["fused"], read) if "fused" in files else None
        if fused is None:
            fused = self._fused(read, form, job)
        first, second, fused = (
            published_grey(image) for image in (read.pair.first, read.pair.second, fused)
        )
        job.check()
        images = (stretched_rows if form.stretch else rows)(fused, first, second)
        table: dict[str, dict[str, float | None]] = {}
        for name, image in images.items():
            grey = levels(image[None], first[None], second[None])
            table[name] = {}
            for metric in metrics:
                job.check()
                table[name][metric.name] = _finite(metric.of(grey).item())
        described = [
            {"name": x.name, "title": x.title, "better": x.better, "unit": x.unit} for x in metrics
        ]
        return {"profile": form.profile, "metrics": described, "rows": table}

    def features(self, files: Files, form: FeatureForm, job: Job) -> dict[str, Any]:
        """Maps of the parts that a network takes a pair apart into."""
        with refused_as(422, _FIELDS):
            model = self.networks.get(form.network)
        read = self._read(files, form)
        job.check()
        with refused_as(422, _FIELDS), trouble("explain the images"):
            found = explain(model, read.pair, ExplainSettings(form.size, directions=0))
        parts = []
        for kind, part in found.parts.items():
            maps = {"fused": displayed(part.fused)[0]}
            if part.first is not None and part.second is not None:
                maps["first"], maps["second"] = displayed(part.first, part.second)
            alike = None if part.correlation is None else part.correlation.nanmean().item()
            pictures = {side: _text(_written(image, ".png")) for side, image in maps.items()}
            parts.append({"kind": kind, "correlation": _finite(alike), **pictures})
        height, width = found.fused.shape[-2:]
        return {"width": width, "height": height, "parts": parts}

    def _read(self, files: Files, form: PairForm) -> Read:
        with refused_as(422, _FIELDS):
            self.networks.get(form.network)
        with refused_as(413), trouble("read the images"):
            return pair_of(files, resize=form.resize, rules=form.range, most=self.pixels)

    def _given(self, data: bytes, read: Read) -> Tensor:
        """A fused image that was uploaded."""
        image = decoded(data, "the fused image", self.pixels)
        names = "the first image", "the fused image"
        if image.pixels.shape[:2] != read.pair.first.shape[-2:]:
            height, width = image.pixels.shape[:2]
            text = f"the fused image is {width}x{height} pixels, unlike its sources: send another."
            raise RefusedError(422, text, field="fused")
        with refused_as(422, _FIELDS):
            return paired((image, image), names, "", ranges=Ranges.parse(["full"]))[0].first

    def _fused(self, read: Read, form: FuseForm, job: Job) -> Tensor:
        job.check()
        model = self.networks.get(form.network)
        started = time.monotonic()
        with refused_as(422, _FIELDS), trouble("fuse the images"):
            fused = fuse(
                model,
                read.pair,
                stretch=form.stretch,
                colour=form.colour,
                limits=Limits(progress=job.progress),
            )
        pixels = fused[0].numel()
        self.networks.note_pace(form.network, (time.monotonic() - started) / pixels, pixels)
        return fused


def _written(image: Tensor, suffix: str, *, deep: bool = False) -> bytes:
    """The bytes of an image file, without any metadata."""
    path = Path("result" + suffix)
    return encoded(quantize(image, 16 if deep else 8), output_format(path), path, Metadata())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _finite(value: float | None) -> float | None:
    """A number that JSON has."""
    return value if value is not None and math.isfinite(value) else None
