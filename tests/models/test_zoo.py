"""The methods CDDFuse is compared with: agreement with their authors' programs, and conversions."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from released import shared, shared_cases
from torch import Tensor
from zoo import checkpoint, defusion

from cddfuse.models import MODELS, FusionModel, create_model
from cddfuse.models.defusion import DeFusion
from cddfuse.models.didfuse import DIDFuse
from cddfuse.models.reconet import ReCoNet
from cddfuse.models.rfnnest import RFNNest
from cddfuse.models.sdnet import SDNet
from cddfuse.models.tardal import TarDAL

_CORNER = 72  # pixels


def made(method: str, **options: Any) -> Any:
    """A network with the weights of the formula, from its authors' layout."""
    kind, theirs = MODELS[method], checkpoint(method)
    state = kind.convert_checkpoint(theirs)
    assert state is not None
    model = kind(**{**kind.implied_options(theirs), **options})
    model.load_state_dict(state)
    return model.eval()


# What the authors' programs compute


class Golden(NamedTuple):
    """Stored outputs of the authors' programs, and what here should equal them."""

    method: str
    weights: str
    folder: str
    run: Callable[[Any, Tensor, Tensor], dict[str, Tensor]]
    options: Mapping[str, Any] = MappingProxyType({})
    sources: tuple[str, str] = ("vi", "ir")


def _fused(key: str) -> Callable[[FusionModel, Tensor, Tensor], dict[str, Tensor]]:
    return lambda model, first, second: {key: model(first, second)}


def _sdnet(model: SDNet, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    fused = model.squeezed(*model.ordered(first, second))
    leading, following = model.decomposition(fused)
    return {"out": fused, "sept_first": leading, "sept_second": following}


def _didfuse(model: DIDFuse, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    return {{"sum": "out_sum", "average": "out_average"}[model.rule]: model(first, second)}


def _tardal(model: TarDAL, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    alone = model.card.receptive_radius is None
    return {"out_bn_train" if alone else "out_bn_eval": model.generate(first, second)}


def _reconet(model: ReCoNet, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    found = {}
    for index, turn in enumerate(model.recurrences(first, second)):
        found[f"f{index + 1}"] = turn.fused
        found[f"att_vi{index}"] = turn.attention_first
        found[f"att_ir{index}"] = turn.attention_second
    return found


def _u2fusion(model: FusionModel, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    return {"out_vis_first": model(first, second), "out_ir_first": model(second, first)}


_TARDAL = [
    Golden("tardal", f"tardal_v0_{kind}", f"tardal_v0_{kind}", _tardal, {"statistics": statistics})
    for kind in ("dt", "tt", "ct")
    for statistics in ("running", "image")
]
INFRARED = [
    *(Golden("didfuse", "didfuse", "didfuse", _didfuse, {"rule": x}) for x in ("sum", "average")),
    Golden("didfuse", "didfuse", "didfuse", _fused("out_l1_norm"), {"rule": "activity"}),
    Golden("u2fusion", "u2fusion", "u2fusion", _u2fusion),
    Golden("sdnet", "sdnet_irvis", "sdnet_irvis", _sdnet),
    Golden("reconet", "reconet_v0", "reconet", _reconet),
    *_TARDAL,
]
MEDICAL = [
    Golden(
        "sdnet",
        "sdnet_medical",
        "sdnet_medical",
        _sdnet,
        {"leading": "first"},
        ("function", "structure"),
    ),
    Golden("emfusion", "emfusion_ctmri", "emfusion_ctmri", _fused("out"), {}, ("ct", "mri")),
]
CASES = [
    *((golden, case) for golden in INFRARED for case in ("tno_05", "tno_07", "tno_19")),
    *((golden, f"repo_test_{number}") for golden in MEDICAL for number in (1, 2, 3)),
]


# One case per network; `python -m benchmarks.zoo` runs all of them on whole images.
_ALONE = {"statistics": "image"}
QUICK = [
    *((g, c) for g, c in CASES if c in ("tno_19", "repo_test_1") and g.options != _ALONE),
    *((g, c) for g, c in CASES if c == "tno_07" and g.options == _ALONE and "dt" in g.weights),
]


QUICK_BY_ID = {f"{g.weights}-{[*g.options.values()]}-{c}": (g, c) for g, c in QUICK}


@pytest.mark.parametrize(("golden", "case"), shared_cases(QUICK_BY_ID))
def test_numbers_of_the_authors_programs(golden: Golden, case: str) -> None:
    weights = shared("official_weights", f"{golden.weights}.safetensors")
    model = create_model(golden.method, weights, **golden.options)
    with np.load(shared("golden", "baselines", golden.folder, f"{case}.npz")) as file:
        stored = dict(file)
    sources = [torch.from_numpy(stored[f"{x}_uint8"])[None, None] / 255 for x in golden.sources]
    # A corner takes a tenth of the time and includes two borders. Pixels that the rest of the image
    # influences are left out; networks with a global receptive field get the whole image.
    radius = model.card.receptive_radius
    side = None if radius is None else _CORNER
    inner = None if side is None else side - 2 * (radius or 0)  # twice: SDNet's way back
    with torch.inference_mode():
        found = golden.run(model, *(image[..., :side, :side] for image in sources))
    for name, value in found.items():
        expected = torch.from_numpy(stored[name])[None, None, :inner, :inner]
        torch.testing.assert_close(value[..., :inner, :inner], expected, rtol=0, atol=1e-5)


def _rfnnest(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    # A corner again: a whole image takes twenty seconds (`python -m benchmarks.zoo`).
    side, inner = 128, 32
    first, second = (stored[f"{x}_uint8"][None, None, :side, :side] / 255 for x in ("vi", "ir"))
    model: RFNNest = made("rfnnest")
    one, two = model.encode(first), model.encode(second)
    images = {"out": model.decoder(model.fused(one, two)), "recon_ir": model.decoder(two)}
    found = {name: image[..., :inner, :inner] for name, image in images.items()}
    return found, {name: stored[name][:inner, :inner] for name in found}


def _defusion(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    model: DeFusion = made("defusion")
    images = (stored[f"{x}_uint8"].expand(1, 3, -1, -1) / 255 for x in ("vi", "ir"))
    sources = (torch.nn.functional.pad(image, (16,) * 4, mode="reflect") for image in images)
    parts = model.decompose(*sources)
    outputs = {
        "common": model.project(parts.common),
        "lower": model.project(parts.first),
        "upper": model.project(parts.second),
        "fusion": model.join(parts),
    }
    found = {name: image[..., 16:-16, 16:-16] for name, image in outputs.items()}
    return found, {name: stored[name] for name in found}


GRAPHS = {
    "rfnnest": (_rfnnest, ("rfnnest_synthetic", "tno_07.npz")),
    "defusion": (_defusion, ("defusion_synthetic", "test2222_tno_07.npz")),
}


@pytest.mark.parametrize(("run", "path"), shared_cases(GRAPHS))
@torch.inference_mode()
def test_numbers_of_the_authors_graphs_with_weights_by_formula(
    run: Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, Tensor]]],
    path: tuple[str, str],
) -> None:
    with np.load(shared("golden", "baselines", *path)) as file:
        stored = {name: torch.from_numpy(array) for name, array in file.items()}
    found, expected = run(stored)
    for name, image in found.items():
        limit = 1e-4 * float(expected[name].abs().max())
        torch.testing.assert_close(image.squeeze(), expected[name], rtol=0, atol=limit)


def test_larger_defusion_is_known_by_its_names() -> None:
    assert DeFusion.implied_options(defusion((4, 4, 6, 6))) == {"blocks": (4, 4, 6, 6)}


# The same graphs with weights by formula: these tests need no other files


def small_pair() -> tuple[Tensor, Tensor]:
    index = torch.arange(18 * 21).reshape(1, 1, 18, 21)
    return index * 37 % 256 / 255, index * index // 5 % 251 / 255


def probed(image: Tensor) -> list[float]:
    """Pixels at three borders and in the middle, the mean and the standard deviation."""
    x = image.squeeze()
    return [float(v) for v in (x[0, 0], x[0, -1], x[9, 10], x[-1, 3], x.mean(), x.std())]


# This code under torch 2.13 CPU, float32, one thread, when it agreed with the tests above.
LITERAL = [
    ("didfuse", {}, [0.446928, 0.426214, 0.36514, 0.497782, 0.343418, 0.052514]),
    ("didfuse", {"rule": "average"}, [0.469796, 0.458805, 0.426436, 0.497997, 0.416358, 0.028231]),
    ("didfuse", {"rule": "activity"}, [0.474152, 0.450632, 0.42508, 0.493896, 0.415028, 0.028707]),
    ("u2fusion", {}, [0.58371, 0.648055, 0.632512, 0.631921, 0.612348, 0.022117]),
    ("sdnet", {}, [0.430885, 0.412586, 0.295517, 0.335613, 0.394416, 0.101659]),
    ("sdnet", {"leading": "first"}, [0.385274, 0.579519, 0.674432, 0.374891, 0.420606, 0.090522]),
    ("emfusion", {}, [0.461708, 0.447427, 0.418849, 0.476731, 0.438725, 0.027293]),
    ("tardal", {}, [0.0, 0.005673, 0.093095, 0.033885, 0.043567, 0.029604]),
    ("tardal", {"statistics": "image"}, [0.0, 0.0, 0.656167, 0.0, 0.187703, 0.265327]),
    ("reconet", {}, [0.135749, 0.084419, 0.0, 0.229549, 0.229699, 0.145872]),
    ("rfnnest", {}, [0.593853, 0.84642, 0.524353, 0.5965, 0.389133, 0.22445]),
]


DEFUSION = [  # Second channel of the fused image and of the three parts.
    [166.401428, 0.0, 473.013855, 24.997286, 276.062927, 157.214935],
    [1.506338, 0.956472, 1.562613, 1.640734, 2.169831, 1.401608],
    [28.768738, 87.80854, 433.494232, 33.000843, 256.876526, 132.830734],
    [28.527309, 93.143745, 444.985565, 32.584877, 265.654877, 137.351379],
]


@pytest.mark.parametrize(("method", "options", "expected"), LITERAL, ids=str)
@torch.inference_mode()
def test_numbers_with_weights_by_formula(
    method: str, options: dict[str, Any], expected: list[float]
) -> None:
    assert probed(made(method, **options)(*small_pair())) == pytest.approx(expected, abs=2e-5)


@torch.inference_mode()
def test_parts_of_defusion_with_weights_by_formula() -> None:
    model: DeFusion = made("defusion")
    parts = model.decompose(*(image.expand(-1, 3, -1, -1) for image in small_pair()))
    images = [model.join(parts), *map(model.project, parts)]
    found = [probed(image[:, 1]) for image in images]
    for values, expected in zip(found, DEFUSION, strict=True):
        assert values == pytest.approx(expected, rel=1e-4)
