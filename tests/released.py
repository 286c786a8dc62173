"""Reference data, and the released CDDFuse with weights that follow a formula.

The reference values of the released implementation were computed with these weights, so a
comparison with it needs no file of theirs. `golden/README.md` says where all reference data come
from.
"""

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cddfuse.models.cddfuse import CDDFuse, Residual

Shapes = dict[str, tuple[int, ...]]

_GOLDEN = Path(__file__).parent / "golden"
_SHARED = Path(__file__).parents[2] / "shared"


def golden_arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of a committed file of reference data."""
    with np.load(_GOLDEN / f"{name}.npz") as file:
        return dict(file)


def golden_values(name: str) -> dict[str, Any]:
    """The content of a committed JSON file of reference data."""
    content: dict[str, Any] = json.loads((_GOLDEN / f"{name}.json").read_text())
    return content


def shared(*parts: str) -> Path:
    """A file of `shared` beside the repository; the test is skipped where there is none."""
    path = _SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here: it lies beside the repository, not in it")
    return path


def shared_cases(cases: Mapping[str, tuple[Any, ...]]) -> list[Any]:
    """Parameters of a test that needs `shared`, by id.

    Without that folder a single skipped case stands for all, so that a plain clone reports what it
    could not check in one line per test.
    """
    here = _SHARED.is_dir()
    reason = f"{len(cases)} cases need {_SHARED}, which lies beside the repository"
    marks = [pytest.mark.shared, pytest.mark.skipif(not here, reason=reason)]
    shown = cases if here else {"shared": next(iter(cases.values()))}
    return [pytest.param(*case, id=name, marks=marks) for name, case in shown.items()]


def released_model(residual: Residual = "first") -> CDDFuse:
    """The network with the weights of `released_checkpoint`."""
    model = CDDFuse(residual=residual)
    state = model.convert_checkpoint(released_checkpoint())
    assert state is not None
    model.load_state_dict(state)
    return model.eval()


def released_checkpoint() -> dict[str, dict[str, Tensor]]:
    """What `torch.load` gives for a file of the release: four state dicts."""
    return {
        module: {f"module.{name}": _weight(module, name, shape) for name, shape in shapes.items()}
        for module, shapes in layout().items()
    }


def layout() -> dict[str, Shapes]:
    """Names, without `module.`, and shapes of the four modules of the release."""
    return {
        "DIDF_Encoder": {
            "patch_embed.proj.weight": (64, 1, 3, 3),
            **_in("encoder_level1", *(_restormer_block() for _ in range(4))),
            **_under("baseFeature", _base_block()),
            **_under("detailFeature", _in("net", *(_detail_node() for _ in range(3)))),
        },
        "DIDF_Decoder": {
            "reduce_channel.weight": (64, 128, 1, 1),
            **_in("encoder_level2", *(_restormer_block() for _ in range(4))),
            "output.0.weight": (32, 64, 3, 3),
            "output.2.weight": (1, 32, 3, 3),
        },
        "BaseFuseLayer": _base_block(),
        "DetailFuseLayer": _in("net", _detail_node()),
    }


def _restormer_block() -> Shapes:
    return {
        **_norms(),
        "attn.temperature": (8, 1, 1),
        "attn.qkv.weight": (192, 64, 1, 1),
        "attn.qkv_dwconv.weight": (192, 1, 3, 3),
        "attn.project_out.weight": (64, 64, 1, 1),
        "ffn.project_in.weight": (256, 64, 1, 1),
        "ffn.dwconv.weight": (256, 1, 3, 3),
        "ffn.project_out.weight": (64, 128, 1, 1),
    }


def _base_block() -> Shapes:
    return {
        **_norms(),
        "attn.scale": (8, 1, 1),
        "attn.qkv1.weight": (192, 64, 1, 1),
        "attn.qkv2.weight": (192, 192, 3, 3),
        "attn.proj.weight": (64, 64, 1, 1),
        "mlp.project_in.weight": (128, 64, 1, 1),
        "mlp.dwconv.weight": (128, 2, 3, 3),
        "mlp.project_out.weight": (64, 64, 1, 1),
    }


def _detail_node() -> Shapes:
    bottleneck: Shapes = {
        "0.weight": (64, 32, 1, 1),
        "3.weight": (64, 1, 3, 3),
        "5.weight": (32, 64, 1, 1),
    }
    names = [f"theta_{name}.bottleneckBlock" for name in ("phi", "rho", "eta")]
    nodes = [_under(name, bottleneck) for name in names]
    shuffle: Shapes = {"shffleconv.weight": (64, 64, 1, 1), "shffleconv.bias": (64,)}
    return nodes[0] | nodes[1] | nodes[2] | shuffle


def _norms() -> Shapes:
    names = [f"norm{place}.body.{kind}" for place in (1, 2) for kind in ("weight", "bias")]
    return dict.fromkeys(names, (64,))


def _in(name: str, *modules: Shapes) -> Shapes:
    """Modules of a list, by number."""
    numbered = enumerate(modules)
    return {k: v for i, module in numbered for k, v in _under(f"{name}.{i}", module).items()}


def _under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def _weight(module: str, name: str, shape: tuple[int, ...]) -> Tensor:
    random = np.random.Generator(np.random.PCG64(zlib.crc32(f"{module}/{name}".encode())))
    x = random.standard_normal(shape)
    if name.endswith(("temperature", "scale")):
        x = 0.5 + 1.5 * random.random(shape)
    elif ".norm" in name or name.startswith("norm"):
        x = 1 + 0.2 * x if name.endswith("weight") else 0.1 * x
    elif name.endswith("bias"):
        x = 0.1 * x
    else:
        x = x / math.sqrt(math.prod(shape[1:]))
        x = x * (0.3 if "bottleneckBlock.5" in name else 0.2 if name == "output.2.weight" else 1)
    return torch.from_numpy(x.astype(np.float32))
