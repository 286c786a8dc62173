"""The API: what it gives is what the library gives."""

import base64
import json
import re
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
import torch
from image_bytes import encoded, exif, noise, tensor
from PIL import Image
from thermal_bytes import Overlay, camera_record, flir_jpeg, photo_records, raw_record, scene
from torch import Tensor

from cddfuse import create_model, fuse
from cddfuse.errors import InputError
from cddfuse.evaluate import published_grey
from cddfuse.io import Ranges, load_pair
from cddfuse.io.images import quantize
from cddfuse.metrics import score
from cddfuse.pair import ImagePair

VISIBLE, INFRARED = noise(24, 40, 3), noise(24, 40)
PAIR = ImagePair(tensor(VISIBLE), tensor(INFRARED))


def png(array: np.ndarray) -> bytes:
    return encoded(array, "PNG")


def files(first: bytes, second: bytes | None = None, **more: bytes) -> dict[str, bytes]:
    return {"first": first, **({} if second is None else {"second": second}), **more}


FILES = files(png(VISIBLE), png(INFRARED))


def array(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(BytesIO(response.content)))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"network": "laplacian", "stretch": "true"},
        {"network": "max", "colour": "lab"},
        {"colour": "grey"},
        {"colour": "per-channel"},
    ],
    ids=str,
)
def test_fused_is_what_fuse_gives(client: httpx.Client, fields: dict[str, str]) -> None:
    found = array(client.post("/v1/fuse", files=FILES, data=fields))
    model = create_model(fields.get("network", "mean"))
    expected = fuse(
        model,
        PAIR,
        stretch="stretch" in fields,
        colour=fields.get("colour", "ycbcr"),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(found, quantize(expected))


def test_formats(client: httpx.Client) -> None:
    expected = fuse(create_model("mean"), PAIR)
    deep = client.post("/v1/fuse", files=FILES, data={"format": "tiff", "bits": "16"})
    assert deep.headers["content-type"] == "image/tiff"
    np.testing.assert_array_equal(tifffile.imread(BytesIO(deep.content)), quantize(expected, 16))
    plain = client.post("/v1/fuse", files=FILES, data={"format": "tiff"})
    np.testing.assert_array_equal(array(plain), quantize(expected))
    jpeg = client.post("/v1/fuse", files=FILES, data={"format": "jpeg"})
    assert Image.open(BytesIO(jpeg.content)).format == "JPEG"
    assert jpeg.headers["cache-control"] == "no-store"
    wrong = client.post("/v1/fuse", files=FILES, data={"format": "jpeg", "bits": "16"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "bits")


def test_deep_sources_give_deep_results(client: httpx.Client) -> None:
    deep = files(encoded(noise(24, 40, bits=16), "PNG"), png(INFRARED))
    assert array(client.post("/v1/fuse", files=deep)).dtype != np.uint8
    assert array(client.post("/v1/fuse", files=deep, data={"bits": "8"})).dtype == np.uint8


def test_ranges_are_those_of_files(client: httpx.Client, tmp_path: Path) -> None:
    counts = (20000 + noise(24, 40).astype(np.uint16)).astype(np.uint16)
    (tmp_path / "b.tif").write_bytes(encoded(counts, "TIFF"))
    (tmp_path / "a.png").write_bytes(png(VISIBLE))
    sent = files(png(VISIBLE), (tmp_path / "b.tif").read_bytes())
    found = array(
        client.post("/v1/fuse", files=sent, data={"range": "second=20000:20255", "bits": "8"})
    )
    np.testing.assert_allclose(found, array(client.post("/v1/fuse", files=FILES)), atol=1)
    auto = load_pair(tmp_path / "a.png", tmp_path / "b.tif", ranges=Ranges())[0]
    given = array(client.post("/v1/fuse", files=sent, data={"bits": "8"}))
    np.testing.assert_array_equal(given, quantize(fuse(create_model("mean"), auto)))


def test_second_is_resized_when_asked(client: httpx.Client) -> None:
    small = files(png(VISIBLE), png(noise(12, 20)))
    refused = client.post("/v1/fuse", files=small)
    assert (refused.status_code, refused.json()["field"]) == (422, "resize")
    assert array(client.post("/v1/fuse", files=small, data={"resize": "true"})).shape == (24, 40, 3)


def test_images_are_turned_upright(client: httpx.Client) -> None:
    tall = encoded(np.ascontiguousarray(np.rot90(VISIBLE)), "PNG", exif=exif(tag274=6))
    turned = array(client.post("/v1/fuse", files=files(tall, png(INFRARED))))
    np.testing.assert_array_equal(turned, array(client.post("/v1/fuse", files=FILES)))


def test_results_carry_nothing_of_the_camera(client: httpx.Client) -> None:
    tagged = files(encoded(VISIBLE, "JPEG", exif=exif()), png(INFRARED))
    for form in ("png", "tiff", "jpeg"):
        result = client.post("/v1/fuse", files=tagged, data={"format": form})
        assert b"FLIR" not in result.content
        assert not Image.open(BytesIO(result.content)).getexif().get(271)


def test_one_radiometric_photo_is_a_pair(client: httpx.Client, tmp_path: Path) -> None:
    photo = photo_records(encoded(noise(48, 64, 3), "JPEG"), Overlay(1.0))
    file = tmp_path / "flir.jpg"
    file.write_bytes(flir_jpeg({1: raw_record(scene()), 0x20: camera_record(), **photo}))
    pair = load_pair(file, file, ranges=Ranges())[0]
    found = array(client.post("/v1/fuse", files=files(file.read_bytes()), data={"bits": "8"}))
    np.testing.assert_array_equal(found, quantize(fuse(create_model("mean"), pair)))
    alone = client.post("/v1/fuse", files=files(encoded(VISIBLE, "JPEG")))
    assert (alone.status_code, alone.json()["field"]) == (422, "second")


def test_events_report_and_end_with_the_images(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/fuse/events", files=FILES, data={"network": "max"}) as answer:
        events = [json.loads(line) for line in answer.iter_lines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert events[-1]["state"] == "done"
    assert {event["state"] for event in events[:-1]} <= {"waiting", "working"}
    fused = np.asarray(Image.open(BytesIO(base64.b64decode(events[-1]["fused"]))))
    np.testing.assert_array_equal(fused, quantize(fuse(create_model("max"), PAIR)))
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(events[-1]["second"]))))
    assert np.abs(shown.astype(float) - INFRARED).mean() < 8  # JPEG of noise
    wrong = files(png(VISIBLE), png(noise(12, 20)))
    last = json.loads(client.post("/v1/fuse/events", files=wrong).text.splitlines()[-1])
    assert (last["state"], last["status"], last["field"]) == ("failed", 422, "resize")
    assert 'path="/v1/fuse/events",status="422"' in client.get("/metrics").text


def scores_of(fused: Tensor, pair: ImagePair, names: str) -> dict[str, float]:
    found = score(fused[None], pair.first[None], pair.second[None], names.split())
    return {name: value.item() for name, value in found.items()}


def test_scores_are_those_of_the_library(client: httpx.Client) -> None:
    grey = files(png(VISIBLE[..., 0]), png(INFRARED))
    fused = noise(24, 40, 1)[..., 0]
    data = {"metrics": "EN SD MI PSNR"}
    found = client.post("/v1/score", files={**grey, "fused": png(fused)}, data=data).json()
    pair = ImagePair(tensor(VISIBLE[..., 0]), tensor(INFRARED))
    expected = scores_of(tensor(fused), pair, data["metrics"])
    assert found["rows"]["fused"] == pytest.approx(expected)
    assert list(found["rows"]) == ["fused", "first", "second", "mean", "max"]
    assert [x["better"] for x in found["metrics"]] == ["higher"] * 4
    made = client.post("/v1/score", files=grey, data=data).json()
    expected = scores_of(published_grey(fuse(create_model("mean"), pair)), pair, data["metrics"])
    assert made["rows"]["fused"] == pytest.approx(expected)
    wrong = client.post("/v1/score", files=grey, data={"metrics": "nothing"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "metrics")
    other = client.post("/v1/score", files={**grey, "fused": png(noise(8, 8))})
    assert (other.status_code, other.json()["field"]) == (422, "fused")


def test_scores_that_are_no_numbers_are_null(client: httpx.Client) -> None:
    same = png(INFRARED)
    found = client.post(
        "/v1/score", files=files(same, same, fused=same), data={"metrics": "PSNR VIF"}
    )
    assert found.json()["rows"]["fused"]["PSNR"] is None


def test_features_are_maps_of_the_parts(client: httpx.Client) -> None:
    data = {"network": "laplacian", "size": "32"}
    found = client.post("/v1/features", files=FILES, data=data).json()
    assert found["width"] == 32
    names = {part["kind"] for part in found["parts"]}
    assert len(names) == len(found["parts"]) > 1
    for part in found["parts"]:
        picture = Image.open(BytesIO(base64.b64decode(part["fused"])))
        assert picture.size == (found["width"], found["height"])
    none = client.post("/v1/features", files=FILES, data={"network": "mean"})
    assert none.status_code == 422
    assert "laplacian" in none.json()["detail"]


def test_what_is_offered(client: httpx.Client) -> None:
    offered = client.get("/v1/networks").json()
    assert [x["name"] for x in offered["networks"]] == ["mean", "max", "laplacian"]
    assert [x["features"] for x in offered["networks"]] == [False, False, True]
    assert offered["max_pixels"] == 250_000
    unknown = client.post("/v1/fuse", files=FILES, data={"network": "<script>"})
    assert unknown.status_code == 422
    assert "script" not in unknown.text


def test_a_weights_file_is_shown_by_its_stem(tmp_path: Path) -> None:
    from cddfuse.models import save_weights
    from cddfuse.serve.networks import Networks

    torch.manual_seed(0)
    model = create_model("cddfuse_small")
    save_weights(model, tmp_path / "mine.safetensors")
    networks = Networks([f"cddfuse_small={tmp_path / 'mine.safetensors'}"])
    assert list(networks.offers) == ["cddfuse_small=mine"]
    assert str(tmp_path) not in json.dumps([x.facts() for x in networks.offers.values()])
    expected = fuse(model, PAIR)
    torch.testing.assert_close(fuse(networks.get(""), PAIR), expected)
    plain = (tmp_path / "mine.safetensors").rename(tmp_path / "other")
    assert list(Networks([f"cddfuse_small={plain}"]).offers) == ["cddfuse_small=other"]


def test_networks_that_are_named_are_at_hand_before_it_serves(tmp_path: Path) -> None:
    from cddfuse.serve.networks import Networks

    with pytest.raises(InputError, match="no weights") as error:
        Networks(["mean", f"cddfuse={tmp_path / 'none.pt'}"]).prepare()
    assert error.value.setting == "models"
    words = [f"cddfuse={tmp_path / folder / 'x.pt'}" for folder in "ab"]
    with pytest.raises(InputError, match="two networks would be called cddfuse=x"):
        Networks(words)
    assert list(Networks(["mean", "mean"]).offers) == ["mean"]


def test_all_that_has_weights_is_offered_by_default() -> None:
    from cddfuse.models import MODELS
    from cddfuse.serve.networks import Networks

    offered = list(Networks().offers)
    assert offered[0] == "cddfuse=ivf"
    trained = [f"{name}={x}" for name in MODELS for x in MODELS[name].card.weights]
    assert set(trained) < set(offered)
    assert {"mean", "laplacian"} < set(offered)
    assert "first" not in offered


def test_numbers(client: httpx.Client) -> None:
    client.post("/v1/fuse", files=files(b"text", b""))
    text = client.get("/metrics").text
    assert 'cddfuse_requests_total{method="POST",path="/v1/fuse",status="415"}' in text
    assert "cddfuse_ready 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_openapi_describes_the_forms(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    form = paths["/v1/fuse"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"first", "second", "network", "colour", "stretch", "format", "bits"} < set(
        form["properties"]
    )
    assert {"/healthz", "/readyz", "/metrics", "/v1/score", "/v1/features"} < set(paths)
    assert {"403", "413", "421", "503"} < set(paths["/v1/fuse"]["post"]["responses"])


def test_those_who_ask_for_headers_get_no_content(client: httpx.Client) -> None:
    for path in ("/", "/page.js", "/healthz"):
        full, headers = client.get(path), client.head(path)
        assert (headers.status_code, headers.content) == (200, b"")
        assert headers.headers["content-length"] == str(len(full.content))


def test_client_of_the_docs(
    client: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("visible.png").write_bytes(FILES["first"])
    Path("infrared.png").write_bytes(FILES["second"])
    address = str(client.base_url).rstrip("/")
    exec(block.replace("http://127.0.0.1:8000", address), {})
    expected = quantize(fuse(create_model("mean"), PAIR), 16)
    np.testing.assert_array_equal(tifffile.imread("fused.tif"), expected)
