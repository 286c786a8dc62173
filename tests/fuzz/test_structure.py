"""Files whose structure is right and whose values are anything: a result, or an `InputError`.

Damaged bytes seldom get past checksums and parsers; these do.
"""

import json
import os
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fuzz.seeds import picture, recipes, transforms
from fuzz.targets import TARGETS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_bytes import chunk, encoded, pages, segment
from safetensors.torch import save
from thermal_bytes import CAMERA, Overlay, camera_record, fff, flir_jpeg, photo_records, raw_record

from cddfuse.cli.common import byte_count
from cddfuse.errors import InputError
from cddfuse.io import Ranges
from cddfuse.io.shards import Shard
from cddfuse.models import create_model
from cddfuse.train.data import PAIRS, RunData

# `scripts/fuzz` asks for more.
examples = settings(
    max_examples=int(os.environ.get("CDDFUSE_FUZZ_EXAMPLES", "30")),
    derandomize="CDDFUSE_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

whole = st.one_of(
    st.integers(0, 40), st.sampled_from([2**7, 2**8, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1])
)
real = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e30, -1e30])
plain: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, about what they read


def use(target: str, name: str, data: bytes, seed: int = 0) -> None:
    """A result or a sentence."""
    with TemporaryDirectory() as folder, suppress(InputError):
        path = Path(folder) / name
        path.write_bytes(data)
        TARGETS[target].act(path, Random(seed))


@examples
@given(whole, whole, *[st.integers(0, 20)] * 2, st.integers(0, 2), st.binary(max_size=40))
def test_png(width: int, height: int, bits: int, kind: int, method: int, extra: bytes) -> None:
    data = encoded(picture(), "PNG")
    head = struct.pack(">IIBBBBB", width, height, bits, kind, method % 2, 0, method)
    rest = data[33:]
    more = chunk((b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"acTL")[bits % 5], extra)
    use("read", "a.png", data[:8] + chunk(b"IHDR", head) + more + rest)


_TIFF_TAGS = (
    *(254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 279, 282, 284, 296, 317, 320),
    *(322, 323, 324, 325, 330, 338, 339, 347, 530, 33550, 33922, 34665, 34675, 34853, 42113),
)


@examples
@given(
    st.dictionaries(st.sampled_from(_TIFF_TAGS), st.lists(whole, min_size=1, max_size=3)),
    st.sampled_from("<>"),
    st.integers(1, 2),
)
def test_tiff(tags: Mapping[int, list[int]], order: str, count: int) -> None:
    base = {256: [32], 257: [24], 258: [8], 259: [1], 262: [1], 277: [1], 278: [24], 279: [768]}
    page = ({**base, **tags}, bytes(range(256)) * 3)
    use("read", "a.tif", pages([page] * count, order))


@examples
@given(st.lists(st.tuples(st.integers(0xC0, 0xFE), st.binary(max_size=30)), max_size=4))
def test_jpeg(segments: list[tuple[int, bytes]]) -> None:
    data = encoded(picture(channels=3), "JPEG")
    use("read", "a.jpg", data[:2] + b"".join(segment(*each) for each in segments) + data[2:])


@examples
@given(
    st.dictionaries(st.sampled_from(sorted(CAMERA)), real),
    st.tuples(whole, whole),
    st.tuples(real, *[st.integers(-(2**15), 2**15 - 1)] * 2),
    st.sampled_from(["fuse_thermal", "thermal"]),
)
def test_thermal(
    camera: Mapping[str, float], size: tuple[int, int], overlay: Any, target: str
) -> None:
    camera = {name: value for name, value in camera.items() if name != "o"}
    record = bytearray(raw_record(np.full((24, 32), 17000, np.uint16)))
    if size[0] % 2:
        record[2:6] = struct.pack("<HH", *(side % 2**16 for side in size))
    photo = encoded(picture(channels=3), "JPEG")
    both = photo_records(photo, Overlay(*overlay))
    records = {1: bytes(record), 0x20: camera_record("<", **camera), **both}
    use(target, "a.jpg", flir_jpeg(records))
    use("thermal", "a.fff", fff(records))


@examples
@given(
    st.lists(st.integers(-2, 12) | whole, min_size=8, max_size=8),
    st.sampled_from([2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1536, 9999]),
    st.lists(real, min_size=8, max_size=8),
    st.lists(real, min_size=12, max_size=12),
    st.integers(0, 9),
)
def test_nifti(
    sizes: list[int], kind: int, pixdim: list[float], rows: list[float], code: int
) -> None:
    from fuzz.seeds import volumes

    data = bytearray(volumes()["plain.nii"])
    if code % 3 == 0:
        struct.pack_into("<8h", data, 40, *((size + 2**15) % 2**16 - 2**15 for size in sizes))
    if code % 2:
        struct.pack_into("<h", data, 70, kind)
    struct.pack_into("<8f", data, 76, *pixdim)
    struct.pack_into("<2f", data, 112, *pixdim[:2])
    struct.pack_into("<12f", data, 280, *rows)
    struct.pack_into("<2h", data, 252, code, code)
    use("volume", "a.nii", bytes(data), code)


_ELEMENTS = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "NumberOfFrames", "InstanceNumber", "PhotometricInterpretation"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "Modality"),
    *("SeriesInstanceUID", "SeriesNumber", "PixelPaddingValue", "SpecificCharacterSet"),
)
_WORDS = st.sampled_from(["", "0", "-1", "1e400", "nan", "a", "1\\2", "1\\0\\0\\0\\1\\0", "RGB"])


@examples
@given(st.dictionaries(st.sampled_from(_ELEMENTS), whole | _WORDS, min_size=1, max_size=3), whole)
def test_dicom(changes: Mapping[str, Any], seed: int) -> None:
    import io

    import pydicom
    from fuzz.seeds import series

    dataset = pydicom.dcmread(io.BytesIO(series()["plain0.dcm"]))
    for name, value in changes.items():
        tag = pydicom.datadict.tag_for_keyword(name)
        assert tag is not None
        kind = pydicom.datadict.dictionary_VR(tag)
        small = kind in ("US", "US or SS")
        raw = int(value if isinstance(value, int) else 7) % 2**16 if small else str(value)
        content = struct.pack("<H", raw) if isinstance(raw, int) else raw.encode()
        dataset[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), kind[:2], len(content), content, 0, False, True
        )
    stream = io.BytesIO()
    pydicom.filewriter.dcmwrite(stream, dataset)
    use("series", "plain0.dcm", stream.getvalue(), seed)


@examples
@given(st.sampled_from(sorted(recipes())), st.data())
def test_recipes(name: str, data: st.DataObject) -> None:
    content = yaml.safe_load(recipes()[name])
    keys = st.sampled_from([*content, "method", "weights", "loss", "unknown"])
    content |= data.draw(st.dictionaries(keys, plain, min_size=1, max_size=2))
    use("recipe", "a.yaml", yaml.safe_dump(content, allow_unicode=False).encode(), 5)


@examples
@given(plain, st.sampled_from(["train", "val", "val_share", "val_group", "resize", "range"]))
def test_pairs_of_a_run(value: Any, key: str) -> None:
    content = {"val_share": 0.1, "val_group": 0, "resize": False, "range": ["first=auto"]}
    content |= {"found_range": ["first=auto"], "train": [], "val": [], key: value}
    with TemporaryDirectory() as folder, suppress(InputError):
        (Path(folder) / PAIRS).write_text(yaml.safe_dump(content), encoding="utf-8")
        RunData.read(Path(folder))


@examples
@given(st.data())
def test_transforms_and_records(data: st.DataObject) -> None:
    content = json.loads(transforms()["a.json"])
    content |= data.draw(st.dictionaries(st.sampled_from(sorted(content)), plain, max_size=2))
    use("transform", "a.json", json.dumps(content).encode())
    record = {"range": ["auto:1:9"], "agc": "plateau", "curves": [[0.5], []]}
    keys = st.sampled_from([*record, "kelvin_per_count"])
    record |= data.draw(st.dictionaries(keys, plain, min_size=1, max_size=2))
    use("record", "a.json", json.dumps(record).encode())
    use("record", "a.json", json.dumps(data.draw(plain)).encode())


@examples
@given(st.lists(st.lists(st.floats() | st.integers() | st.text(max_size=3), max_size=6)))
def test_labels(rows: list[list[Any]]) -> None:
    text = "\n".join(" ".join(map(str, row)) for row in rows)
    use("labels", "a.txt", text.encode("utf-8", "surrogatepass"))
    names = ("width", "height", "xmin", "ymin", "xmax", "ymax")
    tags = {name: str(row[0]) for name, row in zip(names, filter(None, rows), strict=False)}
    box = "".join(f"<{name}>{value}</{name}>" for name, value in tags.items())
    xml = f"<a><size>{box}</size><object><bndbox>{box}</bndbox></object></a>"
    use("labels", "a.xml", xml.encode("utf-8", "surrogatepass"))


@examples
@given(
    st.text(max_size=12)
    | st.from_regex(r"(first=|second=)?(auto:|percentile:)?-?[0-9.e+]{1,6}:?[0-9.e]{0,6}[CK]?")
)
def test_texts(text: str) -> None:
    for parse in (lambda word: Ranges.parse([word]), Shard.parse, byte_count):
        with suppress(InputError):
            parse(text)


@examples
@given(
    st.dictionaries(
        st.sampled_from(["cddfuse.model", "cddfuse.options", "a"]),
        st.text() | st.sampled_from(["{}", "[]", '{"a": 1}', "reconet"]),
    ),
    st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.bfloat16]),
    st.integers(0, 3),
)
def test_weights(header: Mapping[str, str], kind: torch.dtype, change: int) -> None:
    state = {name: tensor.to(kind) for name, tensor in create_model("reconet").state_dict().items()}
    if change:
        name = list(state)[change]
        state[name] = state[name].flatten()[: change - 1]
    use("weights", "a.safetensors", save(state, dict(header)), change)
