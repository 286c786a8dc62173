"""Value ranges: which values of an image become black and white.

8-bit images and photographs of 16 bits fill the range of their type. Thermal counts, temperatures
and medical images do not: their values lie anywhere, so a range is chosen for a whole folder.

A rule is text: `auto`, `full`, `minmax`, `percentile`, `percentile:P`, `LOW:HIGH` or
`auto:LOW:HIGH`, and holds for both sides of all pairs, or for one after `first=` or `second=`. With
C or K after it, a range is in degrees Celsius or in kelvin, for files that say how counts become
degrees, and for floats, which are taken as degrees Celsius.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cddfuse.errors import InputError
from cddfuse.io import agc as gain
from cddfuse.io.agc import Agc
from cddfuse.io.decode import (
    Decoded,
    Readable,
    decode,
    decode_both,
    holds_photo,
    read_header,
)
from cddfuse.io.folders import PairedPaths
from cddfuse.io.thermal.planck import KELVIN

_PERCENT = 0.1  # cut off at both ends by default
# 16-bit images that span a third of their range or more stay as they are. Photographs of TNO,
# RoadScene, MSRS and LLVIP span 0.44 to 1 of it, one by one; full 14-bit counts span 0.25.
_PHOTOGRAPH = 1 / 3
_MOST_FILES = 256  # that percentiles are taken of, evenly spaced over the folder
_MOST_SAMPLES = 2**22  # of values that have no histogram
_LARGEST = 1e300
_WORKERS = min(4, os.cpu_count() or 1)
_KNOWN = "auto, full, minmax, percentile, percentile:P or LOW:HIGH"
Unit = Literal["", "C", "K"]


class Range(NamedTuple):
    """The values that become 0 and 1; what lies outside is clipped."""

    low: float
    high: float

    def scaled(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values with the range brought to [0, 1], the rest clipped; NaN stays."""
        wide = values.dtype.itemsize > 2 and values.dtype != np.float32
        scaled: NDArray[np.float64] = values.astype(np.float64 if wide else np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            scaled -= self.low
            scaled /= self.high - self.low
            return scaled.clip(0, 1, out=scaled)

    def __str__(self) -> str:
        return ":".join(_text(value) for value in self)


@dataclass(frozen=True)
class Rule:
    """How the values of an image become [0, 1]."""

    kind: Literal["auto", "full", "minmax", "percentile", "range"] = "auto"
    """`auto` is full for 8 bits, for floats in [0, 1] and for 16-bit photographs, and percentiles
    for the rest."""

    percent: float = _PERCENT
    """Values cut off at both ends, for `percentile`."""

    given: Range | None = None
    """For `range` the range of all images, for `auto` that of images of more than 8 bits."""

    unit: Unit = ""
    """Of the range that is given; empty for the values of the files, whatever they are. A range
    in degrees leaves images of 8 bits as they are."""

    agc: Agc = field(default_factory=Agc)
    """Gain control of images of more than 8 bits that a range was found for."""

    kelvin_per_count: float | None = None
    """What makes degrees of counts of files that do not say."""

    def __str__(self) -> str:
        """The text that `parse` makes the range of this rule of."""
        if self.kind == "percentile":
            return f"percentile:{_text(self.percent)}"
        words = ([] if self.kind == "range" else [self.kind]) + (
            [str(self.given)] if self.given else []
        )
        return ":".join(words) + self.unit

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """The rule of a text without side."""
        word, _, rest = text.strip().partition(":")
        if word in ("full", "minmax") and not rest:
            return cls("full" if word == "full" else "minmax")
        if word == "auto":
            return cls("auto", _PERCENT, *(_range(rest, text) if rest else ()))
        if word == "percentile":
            percent = _number(rest, text) if rest else _PERCENT
            if not 0 <= percent < 50:
                raise InputError(
                    f"cannot cut off {percent:g} percent at both ends: use 0 to 49.", "range"
                )
            return cls("percentile", percent)
        return cls("range", _PERCENT, *_range(text, text))

    @property
    def resolved(self) -> bool:
        """Whether the range of an image follows without looking at its values."""
        return self.kind in ("full", "range") or self.given is not None

    def of(self, image: Decoded, name: str = "the image") -> Range | None:
        """The range of an image that is `measured`, in its values; None is that of its type."""
        rule = self if self.resolved else _estimated(self, [image], "the image")
        if not image.deep and (rule.kind != "range" or rule.unit):
            return None
        if rule.given is None or not rule.unit:
            return rule.given
        _require_degrees(image, name)
        zero = KELVIN if rule.unit == "K" else 0.0
        return Range(*(value - zero for value in rule.given))

    def measured(self, image: Decoded) -> Decoded:
        """The image with its counts as degrees Celsius, if the rule says what they mean."""
        if self.kelvin_per_count is None or image.unit or not image.deep or image.pixels.ndim > 2:
            return image
        celsius = image.pixels * np.float64(self.kelvin_per_count) - KELVIN
        if image.nodata is not None:
            celsius[image.pixels == image.nodata] = math.nan
        nodata = None if image.nodata is None else math.nan
        return replace(image, pixels=celsius.astype(np.float32), unit="C", nodata=nodata)

    def gained(self, image: Tensor, decoded: Decoded, range: Range | None) -> Tensor:
        """An image (C, H, W) in [0, 1], brought there by a range, after gain control."""
        return self.agc.apply(image) if range and decoded.deep else image


class Ranges(NamedTuple):
    """The rules of both sides."""

    first: Rule = Rule()
    second: Rule = Rule()

    @classmethod
    def parse(
        cls,
        texts: Iterable[str],
        *,
        agc: gain.Kind = "none",
        kelvin_per_count: float | None = None,
    ) -> "Ranges":
        """The rules of texts such as `second=29300:31000`; `auto` where nothing is said.

        Args:
            texts: one for both sides or one for each.
            agc: gain control of thermal images.
            kelvin_per_count: what the counts of second images mean that do not say it themselves.
        """
        if kelvin_per_count is not None and not 0 < kelvin_per_count <= 1000:
            raise InputError(
                f"one count cannot be {kelvin_per_count:g} kelvin: use 0.01 or 0.04, for example.",
                "kelvin_per_count",
            )
        found: dict[str, Rule] = {}
        for text in texts:
            side, _, rule = text.rpartition("=")
            if side.strip() not in ("", *cls._fields):
                raise InputError(
                    f"there is no side {side} of a pair: use first or second.", "range"
                )
            if side.strip() in found:
                images = f"the {side} images have" if side else "all images have"
                raise InputError(f"{images} two ranges: give one.", "range")
            found[side.strip()] = Rule.parse(rule)
        common = found.get("", Rule())
        rules = [replace(found.get(side, common), agc=Agc(agc)) for side in cls._fields]
        return cls(rules[0], replace(rules[1], kelvin_per_count=kelvin_per_count))

    @property
    def texts(self) -> list[str]:
        """What `parse` makes these rules of."""
        return [f"{side}={rule}" for side, rule in zip(self._fields, self, strict=True)]


class Resolved(NamedTuple):
    """Rules that treat all pairs alike."""

    ranges: Ranges

    sentence: str
    """What was found, with the text that asks for the same again; empty if images stay as is."""


def resolve(ranges: Ranges, pairs: Sequence[PairedPaths]) -> Resolved:
    """Fix the range of each side over all pairs, so that one value is one grey everywhere.

    Percentiles are taken of at most 256 files of a side, evenly spaced over the pairs, minima and
    maxima of all. Files that cannot be read are skipped: they fail when they are fused.
    """
    return resolve_images(
        ranges,
        [_first(pair) for pair in pairs],
        [_image(pair.second) for pair in pairs],
    )


def resolve_images(
    ranges: Ranges,
    first: Sequence[Readable],
    second: Sequence[Readable],
    noun: str = "file",
) -> Resolved:
    """Fix the range and the gain control of each side over all its images, see `resolve`."""
    rules, notes = [], []
    for side, rule, images in zip(Ranges._fields, ranges, (first, second), strict=True):
        resolved, count = _resolve_side(rule, images, side)
        resolved = _resolve_gain(resolved, images)
        rules.append(resolved)
        if resolved.given:
            files = f"1 {noun}" if count == 1 else f"{count} {noun}s"
            source = f" from {files}" if count else ""
            control = f" with {resolved.agc.kind}" if resolved.agc.kind != "none" else ""
            notes.append(f"{side}={resolved}{control}{source}{_missed(rule, images)}")
    sentence = f"value range: {', '.join(notes)}" if notes else ""
    return Resolved(Ranges(*rules), sentence)


def _image(path: Path) -> Readable:
    return Readable(lambda: decode(path), lambda: read_header(path).deep)


def _first(pair: PairedPaths) -> Readable:
    """The first image, which may be the visible photo in a radiometric file."""
    if pair.first == pair.second and holds_photo(pair.first):
        return Readable(lambda: decode_both(pair.first)[0], lambda: False)
    return _image(pair.first)


def _resolve_side(rule: Rule, images: Sequence[Readable], side: str) -> tuple[Rule, int]:
    """The fixed rule, and how many files it was found in."""
    if rule.resolved:
        return rule, 0
    chosen = list(images) if rule.kind == "minmax" else _spread(images)
    if rule.kind == "auto":
        chosen = [image for image in chosen if _is_deep(image)]
    statistics = _Statistics(f"the {side} images", max(1, len(chosen)))
    for image in _decoded(rule, chosen):
        statistics.add(image)
    return statistics.rule(rule), statistics.count


def _missed(rule: Rule, images: Sequence[Readable]) -> str:
    """What a range that was given makes of the image in the middle, if it misses all of it."""
    if rule.kind != "range" or not images:
        return ""
    for image in _decoded(rule, [images[len(images) // 2]]):
        values = image.pixels[_is_data(image)]
        with suppress(InputError):  # which shows when the image is fused
            range = rule.of(image)
            if range is None or not values.size:
                continue
            ends = range.scaled(np.array([values.min(), values.max()]))
            if ends[0] == ends[1] and ends[0] in (0, 1):
                held = _widened(float(values.min()), float(values.max()))
                tone = "white" if ends[0] else "black"
                return f", which makes images of {held}{image.unit} all {tone}"
    return ""


def _resolve_gain(rule: Rule, images: Sequence[Readable]) -> Rule:
    """The rule with the curve of its gain control, from the same images."""
    if rule.agc.resolved or rule.given is None:
        return rule
    deep = [image for image in _spread(images) if _is_deep(image)]
    return replace(rule, agc=Agc(rule.agc.kind, curve(rule, _decoded(rule, deep))))


def curve(rule: Rule, images: Iterable[Decoded]) -> tuple[float, ...]:
    """What plateau equalisation makes of images that are `measured`; empty where nothing was."""
    counts: NDArray[np.int64] = np.zeros(0, np.int64)
    for image in images:
        try:
            range = rule.of(image)
        except InputError:  # which shows when the image is fused
            continue
        values = image.pixels if range is None else image.pixels[_is_data(image)]
        if range is not None and values.size:
            found = gain.histogram(torch.from_numpy(range.scaled(values)))
            counts = found + counts if counts.size else found
    return gain.plateau(counts) if counts.size else ()


def _decoded(rule: Rule, images: Sequence[Readable]) -> Iterator[Decoded]:
    """Those that can be read, a few in memory at a time."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        for start in range(0, len(images), _WORKERS):
            for image in pool.map(_readable, images[start : start + _WORKERS]):
                if image is not None:
                    yield rule.measured(image)


def _spread(images: Sequence[Readable]) -> list[Readable]:
    count = min(len(images), _MOST_FILES)
    return [images[(2 * index + 1) * len(images) // (2 * count)] for index in range(count)]


def _is_deep(image: Readable) -> bool:
    try:
        return image.deep()
    except InputError:
        return False


def _readable(image: Readable) -> Decoded | None:
    try:
        return image.read()
    except InputError:
        return None


def _estimated(rule: Rule, images: Iterable[Decoded], name: str) -> Rule:
    statistics = _Statistics(name, 1)
    for image in images:
        statistics.add(image)
    return statistics.rule(rule)


def _is_data(image: Decoded) -> NDArray[np.bool_]:
    """Where an image was measured."""
    mask: NDArray[np.bool_] = np.ones(image.pixels.shape, bool)
    if image.nodata is not None and image.deep:
        mask = image.pixels != image.nodata
    return mask & np.isfinite(image.pixels) if image.pixels.dtype.kind == "f" else mask


def _require_degrees(image: Decoded, name: str) -> None:
    if image.unit != "C" and image.pixels.dtype.kind != "f":
        raise InputError(
            f"{name} holds counts and does not say what they are in degrees: give the range in "
            "counts, or the kelvin of one count.",
            ("range", "kelvin_per_count"),
        )


@dataclass
class _Statistics:
    """Values of many images in bounded memory: counts of up to 16 bits, a sample of others."""

    name: str
    files: int
    count: int = 0
    """Images added."""

    low: float = math.inf
    high: float = -math.inf
    kinds: set[str] = field(default_factory=set)
    white: float = 0
    """Of unsigned integers of up to 16 bits; infinite if there are others."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    samples: list[NDArray[Any]] = field(default_factory=list)

    def add(self, image: Decoded) -> None:
        """Take up the values that were measured."""
        values = image.pixels[_is_data(image)]
        if not values.size:
            return
        self.count += 1
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        kind = values.dtype.kind + image.unit
        short = kind in ("u", "i") and values.dtype.itemsize <= 2
        self.kinds.add("counts" if short else kind)
        self.white = max(self.white, image.full[1] if short and kind == "u" else math.inf)
        if short:
            self._count(values)
        else:
            self._sample(values)

    def rule(self, rule: Rule) -> Rule:
        """The rule with its range fixed."""
        if not self.count:
            return replace(rule, kind="full")
        if len(self.kinds) > 1 and (rule.kind != "minmax" or "fC" in self.kinds):
            raise InputError(
                f"{self.name} hold values of different types, such as 16-bit integers and floats, "
                "which no one range fits: give the range of their values.",
                "range",
            )
        unit: Unit = "C" if self.kinds == {"fC"} else ""
        fixed = replace(rule, kind="range", percent=_PERCENT, unit=unit)
        if rule.kind == "minmax":
            return replace(fixed, given=_widened(self.low, self.high))
        if rule.kind == "percentile":
            return replace(fixed, given=self._percentiles(rule.percent))
        if self.kinds == {"f"} and self.low >= 0 and self.high <= 1:
            return replace(rule, kind="full")
        found = self._percentiles(_PERCENT)
        if found.high - found.low >= _PHOTOGRAPH * self.white:
            return replace(rule, kind="full")
        return replace(fixed, kind="auto", given=found)

    def _count(self, values: NDArray[Any]) -> None:
        if not self.counts.size:
            self.counts = np.zeros(3 * 2**15, np.int64)
        # In parts, since bincount works on 64-bit copies.
        for start in range(0, values.size, 2**20):
            part = values[start : start + 2**20].astype(np.int64) + 2**15
            self.counts += np.bincount(part, minlength=self.counts.size)

    def _sample(self, values: NDArray[Any]) -> None:
        most = max(1, _MOST_SAMPLES // self.files)
        if values.size > most:
            # Steps of the golden ratio fall on all columns alike, whatever the width.
            places = np.arange(most) * 0.6180339887498949 % 1 * values.size
            values = values[places.astype(np.int64)]
        self.samples.append(values.astype(np.float64))

    def _percentiles(self, percent: float) -> Range:
        share = percent / 100
        if self.counts.size:
            sums = self.counts.cumsum()
            last = int(sums[-1]) - 1
            cut = math.floor(share * last)
            low, high = (
                float(np.searchsorted(sums, rank, "right")) - 2**15 for rank in (cut, last - cut)
            )
            return _widened(low, high)
        low, high = np.quantile(np.concatenate(self.samples), (share, 1 - share))
        return _widened(float(low), float(high))


def _widened(low: float, high: float) -> Range:
    """A range that is never empty, in numbers that are short to write."""
    low, high = max(low, -_LARGEST), min(high, _LARGEST)
    if high <= low:
        high = low + max(1.0, abs(low) * 1e-6)
    digits = 4 - math.floor(math.log10(high - low))
    return Range(round(low, digits), round(high, digits)) if digits > 0 else Range(low, high)


def _range(text: str, whole: str) -> tuple[Range, Unit]:
    unit: Unit = "C" if text[-1:] in "cC" and text else "K" if text[-1:] in "kK" and text else ""
    low, sign, high = text[: len(text) - len(unit)].partition(":")
    if not sign:
        raise InputError(f"there is no range {whole}: use {_KNOWN}.", "range")
    found = Range(_number(low, whole), _number(high, whole))
    if found.low >= found.high:
        raise InputError(f"the range {whole} is empty: give the lower value first.", "range")
    return found, unit


def _number(text: str, whole: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"there is no range {whole}: use {_KNOWN}.", "range")
    return value


def _text(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
