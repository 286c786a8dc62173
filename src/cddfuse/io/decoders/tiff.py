"""TIFF and BigTIFF: Pillow decodes 8 bits, tifffile the rest and what Pillow has no mode for."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO

import numpy as np
from PIL import TiffImagePlugin

from cddfuse.io import directories, icc
from cddfuse.io.decoders.base import Encoded, Kind, Pixels, UnreadableError
from cddfuse.io.decoders.pillow import flattened
from cddfuse.io.directories import Data, Directory
from cddfuse.io.metadata import of_directory

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANES, _EXTRA, _FORMAT, _SUBSAMPLING = 277, 284, 338, 339, 530
_NEW_SUBTYPE, _OLD_SUBTYPE, _SUBDIRECTORIES, _NODATA = 254, 255, 330, 42113
_SEGMENTS = ((273, 279), (324, 325), (513, 514))  # offsets, counts: strips, tiles, old JPEG
_REDUCED = 1 | 4  # previews and masks
_KINDS: dict[int, Kind] = {1: "u", 2: "i", 3: "f", 4: "u"}

# Entries that say how pixels are stored; the rest is withheld from decoders.
_STRUCTURE = {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320}
_STRUCTURE |= {322, 323, 324, 325, 332, 338, 339, 347, *range(512, 522), 529, 530, 531, 532}
_STRUCTURE |= {32997, 32998, 50674}

_OLD_JPEG = 6
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
_SIMPLE = (None, _WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
_NAMES = {3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab", 10: "Lab"}
_NAMES |= {32803: "raw sensor", 34892: "raw sensor", 32844: "LogL", 32845: "LogLuv"}
_RAW = (32803, 34892)
_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 33003, 33005, 34712, 34887, 34892, 34925}
_COMPRESSIONS |= {34933, 50000, 50001, 50002, 52546}
_OPTIONAL = (34925, 50000, 50001)  # of libtiff: LZMA, Zstandard, WebP
_MOST_PAGES = 10**5
_BIG_KINDS = 16  # and up: numbers of 64 bits, of BigTIFF


@dataclass(frozen=True)
class _Page:
    """What decides how the pixels of a page are decoded."""

    directory: Directory
    width: int
    height: int
    bits: tuple[int, ...]
    formats: tuple[int, ...]
    photometric: int | None
    samples: int
    extra: tuple[int, ...]
    compression: int

    @property
    def name(self) -> str:
        """What errors call its pixels."""
        kind = _NAMES.get(self.photometric or 0)
        return kind or ("RGB" if self.photometric == _RGB else "grey")


def tiff(data: Data) -> Encoded:
    """A TIFF file; overviews, thumbnails and masks beside the image do not count."""
    start = directories.header(data)
    pages = list(_chain(data, *start)) if start else []
    if not pages:
        raise ValueError("there is no header")
    page, images = _main(data, pages)
    kind = _kind(page)
    bits = max(page.bits)
    ancillary = of_directory(data, page.directory)
    by_pillow = kind == "u" and bits in (1, 2, 4, 8) and _is_known_to_pillow(page)
    decode = _by_pillow if by_pillow else _by_tifffile
    pixels = partial(decode, data, page, kind, ancillary.icc)
    size = (page.width, page.height)
    shown = 8 if by_pillow else bits
    return Encoded(*size, shown, kind, pixels, images, ancillary, nodata=_nodata(page))


def pages(data: Data) -> list[Directory]:
    """The directories of the images of a file, such as the frames of a clip."""
    start = directories.header(data)
    found = list(_chain(data, *start)) if start else []
    if not found:
        raise ValueError("there is no header")
    main, count = _main(data, found)
    kept = [page for page in found if not _is_reduced(page)]
    if count == 1:
        return [main.directory]
    return [main.directory, *(x.directory for x in kept[1:] if x.compression in _COMPRESSIONS)]


def extracted(data: Data, directory: Directory) -> bytes:
    """A file of classic TIFF that holds one page of another, without copying the other pages."""
    layout, fields = directory.layout, dict(directory.fields)
    head = {"<": b"II*\0", ">": b"MM\0*"}[layout.order] + bytes(4)
    body = bytearray(head)
    for offsets, counts in _SEGMENTS[:2]:
        parts = list(zip(directory.integers(offsets), directory.integers(counts), strict=False))
        if not parts:
            continue
        if sum(count for _, count in parts) > len(data):
            raise ValueError("its pixels overlap")
        places = []
        for at, count in parts:
            if at + count > len(data):
                raise ValueError("its pixels end too early")
            places.append(len(body))
            body += data[at : at + count]
        fields[offsets] = _longs(places)
        fields[counts] = _longs([count for _, count in parts])
    body += bytes(len(body) % 2)
    body[4:8] = directories.Layout(layout.order, False).offset.pack(len(body))
    narrow = {tag: field for tag, field in fields.items() if field.kind < _BIG_KINDS}
    return bytes(body) + directories.packed(narrow, len(body), layout.order)


def _longs(values: list[int]) -> directories.Field:
    return directories.Field(4, len(values), struct.pack(f"<{len(values)}I", *values))


def with_fields(data: bytes, fields: dict[int, directories.Field | directories.Fields]) -> bytes:
    """Add entries to the first directory of a classic TIFF file."""
    start = directories.header(data)
    main = directories.read(data, *start) if start else None
    if main is None or main.layout.big:
        raise ValueError("not a TIFF file with 32-bit offsets")
    order = main.layout.order
    data += bytes(len(data) % 2)
    head = data[:4] + main.layout.offset.pack(len(data))
    return head + data[8:] + directories.packed(main.fields | fields, len(data), order)


def _chain(data: Data, layout: directories.Layout, start: int) -> Iterator[_Page]:
    """The pages of a file up to the first that is malformed. Raises if the file ends before."""
    seen: set[int] = set()
    while start not in seen and len(seen) < _MOST_PAGES:
        seen.add(start)
        if start >= 8 and not directories.is_whole(data, layout, start):
            raise ValueError("its directory is cut short")
        directory = directories.read(data, layout, start)
        page = _page(directory) if directory else None
        if directory is None or page is None:
            return
        yield page
        start = directory.next


def _page(directory: Directory) -> _Page | None:
    width, height = (directory.integer(tag, 0) for tag in (_WIDTH, _HEIGHT))
    if width <= 0 or height <= 0:
        return None
    photometric = directory.integer(_PHOTOMETRIC, -1)
    compression = directory.integer(_COMPRESSION, 1)
    return _Page(
        directory,
        width,
        height,
        directory.integers(_BITS) or (1,),
        directory.integers(_FORMAT) or (1,),
        None if photometric < 0 else photometric,
        directory.integer(_SAMPLES, 3 if compression == _OLD_JPEG else 1),
        directory.integers(_EXTRA),
        compression,
    )


def _main(data: Data, pages: list[_Page]) -> tuple[_Page, int]:
    """The page that is meant, and how many there are of its rank.

    Raw files of cameras begin with a thumbnail and keep the image in a subdirectory.
    """
    found = [page for page in pages if not _is_reduced(page)]
    if not found:
        layout = pages[0].directory.layout
        starts = pages[0].directory.integers(_SUBDIRECTORIES)[:16]
        parts = [page for start in starts for page in _chain(data, layout, start)]
        found = [page for page in parts if not _is_reduced(page)][:1] or pages
    # Pages count even where the file ends before their pixels: else they would be lost in silence.
    return found[0], 1 + sum(page.compression in _COMPRESSIONS for page in found[1:])


def _is_reduced(page: _Page) -> bool:
    new = page.directory.integer(_NEW_SUBTYPE, 0)
    return bool(new & _REDUCED) or page.directory.integer(_OLD_SUBTYPE, 0) == 2


def _is_inside(data: Data, page: _Page) -> bool:
    segments = _segments(page)
    return bool(segments) and all(at + count <= len(data) for at, count in segments)


def _segments(page: _Page) -> list[tuple[int, int]]:
    """Offset and length of each strip or tile, as far as both are given."""
    for offsets, counts in _SEGMENTS:
        pairs = zip(page.directory.integers(offsets), page.directory.integers(counts), strict=False)
        if segments := list(pairs):
            return segments
    return []


def _require_segments(page: _Page) -> None:
    """Refuse a page with fewer strips or tiles than it takes, whose rest would be black."""
    found = max(len(page.directory.integers(offsets)) for offsets, _ in _SEGMENTS)
    if page.compression != _OLD_JPEG and found < _needed(page):
        raise ValueError("some of its strips or tiles are missing")


def _needed(page: _Page) -> int:
    """How many strips or tiles hold the whole image."""
    directory = page.directory
    tiled = 322 in directory.fields
    rows = directory.integer(323 if tiled else 278, page.height) or page.height
    columns = directory.integer(322, page.width) or page.width
    planes = page.samples if directory.integer(_PLANES, 1) == 2 else 1
    return -(-page.height // rows) * -(-page.width // columns) * planes


def _kind(page: _Page) -> Kind:
    if page.photometric in _RAW:
        raise UnreadableError("holds raw sensor data: develop it to a TIFF of grey or RGB first.")
    kinds = {_KINDS.get(code) for code in page.formats}
    kind = kinds.pop()
    if kind is None:
        raise UnreadableError("holds complex values: save their magnitudes.")
    if kinds or len({*page.bits}) > 1:
        raise UnreadableError("has channels of different types: save it as RGB or grey.")
    return kind


def _is_known_to_pillow(page: _Page) -> bool:
    """Whether every build of Pillow decodes 8 bits of this layout."""
    if page.directory.layout == (">", True):  # it looks for the wrong offsets
        return False
    if page.samples == 1 and max(page.bits) < 8:
        return True
    optional = page.compression in _OPTIONAL and page.photometric in _SIMPLE
    planar = page.directory.integer(_PLANES, 1) == 2
    # It mixes up planes of which one is alpha.
    return max(page.bits) == 8 and not optional and not (planar and page.extra)


def _nodata(page: _Page) -> float | None:
    """What GDAL calls pixels without data: a number as text."""
    found = page.directory.fields.get(_NODATA)
    try:
        return float(found.data.rstrip(b"\0 ")) if found else None
    except ValueError:
        return None


def _one_page(data: Data, page: _Page) -> BytesIO:
    """The file with this page alone, without entries that do not say how pixels are stored.

    The entries are moved together where they are, so that all offsets stay true.
    """
    layout, start = page.directory.layout, page.directory.start
    size = layout.head.size + layout.offset.size
    kept = sorted(tag for tag in page.directory.places if tag in _STRUCTURE)
    places = [page.directory.places[tag] for tag in kept]
    entries = b"".join(bytes(data[place : place + size]) for place in places)
    stream = BytesIO(data)
    stream.seek(8 if layout.big else 4)
    stream.write(layout.offset.pack(start))
    stream.seek(start)
    stream.write(layout.length.pack(len(kept)) + entries + layout.offset.pack(0))
    stream.seek(0)
    return stream


def _by_pillow(data: Data, page: _Page, kind: Kind, profile: bytes) -> Pixels:
    _require_segments(page)
    subsampled = page.directory.integers(_SUBSAMPLING) != (1, 1)
    if page.photometric == _YCBCR and page.compression == 1 and subsampled:
        raise UnreadableError("holds YCbCr pixels with less colour than grey: save it as RGB.")
    try:
        picture = TiffImagePlugin.TiffImageFile(_one_page(data, page))
    except (SyntaxError, KeyError):  # Pillow has no mode for it
        levels = _by_tifffile(data, page, kind, profile)
        return levels * np.uint8(255 // (2 ** page.bits[0] - 1))
    return flattened(picture, profile)


def _by_tifffile(data: Data, page: _Page, kind: Kind, profile: bytes) -> Pixels:
    colours, alpha = _channels(page)
    _require_segments(page)
    if not _is_inside(data, page):
        raise ValueError("its pixels end too early")
    import tifffile

    with tifffile.TiffFile(_one_page(data, page)) as file:
        array = file.pages.first.asarray(maxworkers=1, squeeze=False)
    if array.ndim != 5 or array.shape[1] != 1:
        raise UnreadableError("holds a volume: save each slice to its own file.")
    planes, _, height, width, interleaved = array.shape
    array = array.view(np.uint8) if array.dtype == bool else array
    array = np.moveaxis(array[:, 0], 0, 2).reshape(height, width, planes * interleaved)
    top = 2 ** page.bits[0] - 1 if kind == "u" else 1 if kind == "f" else -1
    image = array[..., 0] if colours == 1 else array[..., :3]
    if alpha and kind != "i":
        image = _unmultiplied(image, array[..., colours], top)
    if page.photometric == _WHITE_IS_ZERO:
        image = (top - image).astype(array.dtype)
    return icc.array_to_srgb(image, profile, top) if kind == "u" and colours == 3 else image


def _channels(page: _Page) -> tuple[int, bool]:
    """How many channels are colours, and whether they are multiplied by the alpha after them."""
    if page.photometric not in _SIMPLE and not (
        page.photometric == _YCBCR and page.compression == 7
    ):
        bits = max(page.bits)
        raise UnreadableError(f"holds {bits}-bit {page.name} pixels: save it as RGB or grey.")
    declared = page.photometric in (_RGB, _YCBCR)
    alpha = page.extra[-1:] in ((1,), (2,))
    # Without a word about colours, three channels are colours, as they are everywhere else here.
    colours = 3 if declared or page.samples - alpha == 3 else 1
    if page.samples < colours or (page.samples > colours + 1 and not declared):
        raise UnreadableError(f"has {page.samples} channels: save it as RGB or grey.")
    return colours, page.samples > colours and page.extra[:1] == (1,)


def _unmultiplied(image: Pixels, alpha: Pixels, top: float) -> Pixels:
    """Undo the multiplication by alpha; what is wholly transparent is black."""
    shares = alpha.astype(np.float64) / top
    shares = shares[..., None] if image.ndim == 3 else shares
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(shares > 0, image / shares, 0)
    if image.dtype.kind == "f":
        return whole.astype(image.dtype)
    return np.minimum(whole.round(), top).astype(image.dtype)
