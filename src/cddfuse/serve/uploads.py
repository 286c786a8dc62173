"""Uploads: forms are read into memory, with limits, and images are decoded from there.

Nothing is written to disk, and names of files are not looked at.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from cddfuse.io import Ranges
from cddfuse.io.decode import Decoded, decode_both_content, decode_content, named
from cddfuse.io.decoders import tiff
from cddfuse.io.decoders.base import Encoded
from cddfuse.io.directories import Directory
from cddfuse.io.images import paired
from cddfuse.io.thermal import files as thermal
from cddfuse.pair import ImagePair
from cddfuse.serve.refusal import RefusedError, refused_as

FORM_BYTES = 65_536
"""What a form may hold beside its files."""

_TEXT_BYTES = 4096  # of one field
_MOST_FIELDS = 20

_FORMATS: Mapping[str, bytes] = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
}
"""What is taken, with the first bytes that tell it."""

# Of TIFF: decoders of these cannot make more of a strip than the tags say.
_COMPRESSIONS = {1: "none", 5: "LZW", 8: "deflate", 32773: "PackBits", 32946: "deflate"}
_TILE, _COMPRESSION, _SAMPLES = (322, 323), 259, 277
_MOST_CHANNELS = 6

Form = TypeVar("Form", bound=BaseModel)


class Read(NamedTuple):
    """Uploaded images in memory."""

    pair: ImagePair
    bits: Literal[8, 16]
    """Per channel, that keep what they hold."""


class Upload(NamedTuple):
    """A form as it came."""

    files: dict[str, bytes]
    texts: dict[str, str]


async def read_form(
    content_type: str, stream: AsyncIterator[bytes], files: tuple[str, ...], most: int, time: float
) -> Upload:
    """Read a form of type multipart/form-data.

    Args:
        content_type: header of the request.
        stream: its body.
        files: names of the fields that hold files.
        most: bytes of a file.
        time: seconds that it may take.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RefusedError(415, "the request is no form: send multipart/form-data with the images.")
    reader = _Reader(files, most)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        await asyncio.wait_for(_feed(parser, stream), time)
    except asyncio.TimeoutError as error:
        raise RefusedError(
            408, f"the upload took longer than {time:g} s: use smaller files."
        ) from error
    except FormParserError as error:
        raise RefusedError(422, "the form is malformed: send multipart/form-data.") from error
    if not reader.complete:
        raise RefusedError(422, "the form is cut short: send it again.")
    return Upload({name: bytes(data) for name, data in reader.files.items()}, reader.texts)


async def _feed(parser: MultipartParser, stream: AsyncIterator[bytes]) -> None:
    async for chunk in stream:
        parser.write(chunk)


class _Reader:
    """Takes up the parts of a form."""

    def __init__(self, names: tuple[str, ...], most: int) -> None:
        self.files: dict[str, bytearray] = {}
        self.texts: dict[str, str] = {}
        self.complete = False
        self._names, self._most = names, most
        self._header = self._value = self._disposition = b""
        self._name = ""
        self._data = bytearray()

    def callbacks(self) -> Any:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._more_header,
            "on_header_value": self._more_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._more,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._header = self._value = self._disposition = b""
        self._data = bytearray()

    def _more_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if not self._name:
            raise RefusedError(422, "a part of the form has no name: send multipart/form-data.")
        if self._name in self.files or self._name in self.texts:
            raise RefusedError(
                422, f"the form has the field {_shown(self._name)} twice: send it once."
            )
        if len(self.files) + len(self.texts) >= _MOST_FIELDS:
            raise RefusedError(
                422, f"the form has more than {_MOST_FIELDS} fields: leave some out."
            )

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        is_file = self._name in self._names
        if len(self._data) > (self._most if is_file else _TEXT_BYTES):
            most = f"{self._most / 1e6:g} MB" if is_file else f"{_TEXT_BYTES} bytes"
            text = f"the field {_shown(self._name)} holds more than {most}: send less."
            raise RefusedError(413, text, field=self._name if is_file else None)

    def _end(self) -> None:
        if self._name in self._names:
            self.files[self._name] = self._data
        else:
            self.texts[self._name] = self._data.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.complete = True


def checked(form: type[Form], texts: Mapping[str, str]) -> Form:
    """The fields of a form, or a refusal that names the first one that is wrong."""
    try:
        return form.model_validate(dict(texts))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(form.model_fields)
            text = f"there is no field {_shown(name)}: known are {known}."
            raise RefusedError(422, text) from error
        said = first["msg"].replace("Input should", "it should")
        raise RefusedError(422, f"the field {name} is wrong: {said}.", field=name) from error


def _shown(name: str) -> str:
    """A name that a client chose, short and printable."""
    return re.sub(r"[^\w.-]", "?", name, flags=re.ASCII)[:40]


def pair_of(files: Mapping[str, bytes], *, resize: bool, rules: str, most: int) -> Read:
    """The pair of uploaded images, as `cddfuse.io.load_pair` reads it from files.

    Args:
        files: `first` and `second`, or `first` alone if it is a radiometric photo that holds both.
        resize: bring the second image to the size of the first.
        rules: of value ranges, as in `cddfuse.io.ranges`, with blanks in between.
        most: pixels of an image.
    """
    with refused_as(422, ("range",)):
        ranges = Ranges.parse(rules.split())
    if "first" not in files:
        raise RefusedError(422, "the first image is missing: send it.", field="first")
    if "second" in files:
        names = "the first image", "the second image"
        images = tuple(
            decoded(files[side], name, most)
            for side, name in zip(("first", "second"), names, strict=True)
        )
    else:
        names = "the image", "the image"
        images = _both(files["first"], names[0], most)
    with refused_as(422, ("resize", "range")):
        pair, metadata = paired((images[0], images[1]), names, "", resize, ranges)
    return Read(pair, metadata.bits)


def decoded(data: bytes, name: str, most: int) -> Decoded:
    """An uploaded image, decoded.

    Args:
        data: the file.
        name: what refusals call it.
        most: its pixels; more are refused before they are decoded.
    """
    _require_known(data, name, most)
    with refused_as(415):
        return decode_content(data, name, lambda header: _require_small(header, name, most))


def _both(data: bytes, name: str, most: int) -> tuple[Decoded, Decoded]:
    _require_known(data, name, most)
    with refused_as(415), named(name):
        photo = thermal.photo(data) if data.startswith(b"\xff\xd8") else None
    if photo is None:
        text = "the second image is missing: send it, or a radiometric photo that holds both."
        raise RefusedError(422, text, field="second")
    with refused_as(415):
        return decode_both_content(data, name, lambda header: _require_small(header, name, most))


def _require_known(data: bytes, name: str, most: int) -> None:
    """Refuse what is none of the formats, by its content, and what is rare in TIFF."""
    if not data:
        raise RefusedError(415, f"{name} is empty: send its file.")
    start = data[:64]
    form = next((x for x, magic in _FORMATS.items() if re.match(magic, start, re.DOTALL)), None)
    if form is None:
        raise RefusedError(
            415, f"{name} is none of {', '.join(_FORMATS)}: convert it to PNG first."
        )
    if form == "TIFF":
        with refused_as(415), named(name):
            main = tiff.pages(data)[0]
        _require_plain(main, name, most)


def _require_plain(page: Directory, name: str, most: int) -> None:
    """Refuse a TIFF page that takes more memory than its pixels do."""
    if page.integer(_COMPRESSION, 1) not in _COMPRESSIONS:
        known = ", ".join(dict.fromkeys(_COMPRESSIONS.values()))
        raise RefusedError(415, f"{name} is a TIFF of a rare compression: use one of {known}.")
    if page.integer(_SAMPLES, 1) > _MOST_CHANNELS:
        raise RefusedError(415, f"{name} has many channels: save it as grey or RGB.")
    if math.prod(page.integer(tag, 1) for tag in _TILE) > most:
        raise RefusedError(
            413, f"{name} has tiles of more than {most / 1e6:g} megapixels: reduce it."
        )


def _require_small(header: Encoded, name: str, most: int) -> None:
    if header.width * header.height > most:
        size = f"{header.width}x{header.height} pixels"
        text = f"{name} has {size}, where {most / 1e6:g} million are accepted: reduce it."
        raise RefusedError(413, text)
    if header.kind == "u" and header.bits not in (*range(1, 9), 16):
        raise RefusedError(415, f"{name} has {header.bits} bits a channel: save it with 8 or 16.")
