"""Checkpoints in the layouts of the methods' authors, with weights that follow a formula.

Stored numbers were computed with these weights, so nothing of the authors has to be shipped.
"""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def filled(
    shapes: Shapes, prefix: str, gain: float, *, tensorflow: bool = False
) -> dict[str, Tensor]:
    """Uniform noise that depends on a tensor's name, for norms about their neutral values.

    Args:
        shapes: in PyTorch's layout.
        prefix: of the names, for the noise only.
        gain: of the kernels.
        tensorflow: hand kernels out as (height, width, inputs, outputs).
    """
    state = {}
    for name, shape in shapes.items():
        noise = _noise(f"{prefix}{name}", shape, gain)
        norm = f"{name.rpartition('.')[0]}.running_var" in shapes
        if name.endswith("num_batches_tracked"):
            noise = torch.tensor(1)
        elif norm and name.endswith(("weight", "running_var")):
            noise = 1 + 4 * noise
        state[name] = noise.permute(2, 3, 1, 0) if tensorflow and len(shape) == 4 else noise
    return state


def _noise(name: str, shape: tuple[int, ...], gain: float) -> Tensor:
    random = np.random.RandomState(zlib.crc32(name.encode()))
    noise = random.uniform(-1, 1, shape)
    scale = math.sqrt(3 * gain / math.prod(shape[1:])) if len(shape) > 1 else 0.05
    return torch.from_numpy(np.asarray(scale * noise, dtype=np.float32))


def checkpoint(method: str) -> dict[str, Tensor]:
    """A checkpoint of a method as its authors would have it."""
    if method == "rfnnest":
        shapes = _rfnnest()
        nest = {name: shape for name, shape in shapes.items() if not name.startswith("fusion")}
        rest = {name: shape for name, shape in shapes.items() if name.startswith("fusion")}
        return {**filled(nest, "nest.", 2), **filled(rest, "rfn.", 1)}
    if method == "defusion":
        return defusion()
    tensorflow = method in ("u2fusion", "sdnet", "emfusion")
    return filled(LAYOUTS[method], f"{method}.", 1, tensorflow=tensorflow)


def defusion(common: tuple[int, ...] = (2, 2, 2, 2)) -> dict[str, Tensor]:
    """The same for DeFusion, with so many blocks in the decoder for what is common."""
    state = filled(_defusion(common), "defusion.", 1.5)
    lower = [(name, name.replace("upper", "lower")) for name in state if "upper" in name]
    return {**state, **{alias: state[name] for name, alias in lower}}


def _conv(name: str, outputs: int, inputs: int, size: int, suffixes: str = "weight bias") -> Shapes:
    weight, bias = suffixes.split()
    return {f"{name}{weight}": (outputs, inputs, size, size), f"{name}{bias}": (outputs,)}


def _norm(name: str, channels: int) -> Shapes:
    names = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{x}": (channels,) for x in names}, f"{name}.num_batches_tracked": ()}


def _didfuse() -> Shapes:
    shapes: Shapes = {}
    sizes = ((1, 64), (64, 64), (64, 64), (64, 64), (128, 64), (128, 64), (128, 1))
    for number, (inputs, outputs) in enumerate(sizes, 1):
        name, start = f"cov{number}.cov{number}", 1 if number in (1, 7) else 0
        shapes |= _conv(f"{name}.{start}.", outputs, inputs, 3)
        shapes |= _norm(f"{name}.{start + 1}", outputs)
        if number in (1, 2, 5, 6):
            shapes[f"{name}.{start + 2}.weight"] = (1,)
    return shapes


def _u2fusion() -> Shapes:
    shapes = _conv("Generator/encoder/conv1_1/", 44, 2, 3, "kernel bias")
    for number in range(1, 6):
        name = f"Generator/encoder/dense_block_conv{number}/"
        shapes |= _conv(name, 44, 44 * number, 3, "kernel bias")
    sizes = ((264, 128), (128, 64), (64, 32), (32, 1))
    for number, (inputs, outputs) in enumerate(sizes, 1):
        name = f"Generator_1/decoder/conv2_{number}/"
        shapes |= _conv(name, outputs, inputs, 3, "kernel bias")
    return shapes


def _sdnet() -> Shapes:
    sizes = [(1, 1, 16, 5), (2, 16, 16, 3), (3, 32, 16, 3), (4, 48, 16, 3)]
    sizes += [(7, 128, 16, 3), (8, 16, 4, 3), (9, 4, 1, 3)]
    layers = [(f"{n}_{s}", a, b, size) for n, a, b, size in sizes for s in ("ir", "vi")]
    layers += [("5_fuse", 128, 1, 1), ("6_sept", 1, 128, 1)]
    shapes: Shapes = {}
    for name, inputs, outputs, size in layers:
        shapes |= _conv(f"fusion_model/layer{name}/", outputs, inputs, size, f"w{name} b{name}")
    return shapes


def _emfusion() -> Shapes:
    sizes = {1: (2, 32), 2: (32, 32), 3: (64, 32), 4: (96, 32)}
    sizes |= {6: (128, 64), 7: (64, 32), 8: (32, 1)}
    shapes: Shapes = {}
    for number, (inputs, outputs) in sizes.items():
        shapes |= _conv(f"fnet/fuse/conv{number}/", outputs, inputs, 3, "kernel bias")
    return {**shapes, "Variable": (), **_conv("spatial_ED/encoder/conv1/", 32, 1, 3, "kernel bias")}


def _tardal() -> Shapes:
    shapes: Shapes = {}
    sizes = {"encoder": (2, 32), "dense.0": (32, 32), "dense.1": (64, 32), "dense.2": (96, 32)}
    sizes |= {"fuse.0": (128, 128), "fuse.1": (128, 64), "fuse.2": (64, 32), "fuse.3": (32, 1)}
    for name, (inputs, outputs) in sizes.items():
        shapes |= _conv(f"{name}.0.", outputs, inputs, 3)
        if name not in ("fuse.0", "fuse.3"):
            shapes |= _norm(f"{name}.1", outputs)
    return shapes


def _reconet() -> Shapes:
    shapes: Shapes = {f"att_{x}_conv.weight": (1, 2, 3, 3) for x in "ab"}
    for number in (1, 2, 3):
        shapes |= _conv(f"dil_conv_{number}.0.", 64, 3, 3) | _norm(f"dil_conv_{number}.1", 64)
    return shapes | _conv("fus_conv.0.", 1, 192, 3) | _norm("fus_conv.1", 1)


def _rfnnest() -> Shapes:
    widths = (64, 112, 160, 208)
    blocks = {"DB1_0": (16, 64), "DB2_0": (64, 112), "DB3_0": (112, 160), "DB4_0": (160, 208)}
    for column in (1, 2, 3):
        for scale in range(4 - column):
            inputs = column * widths[scale] + widths[scale + 1]
            blocks[f"DB{scale + 1}_{column}"] = (inputs, widths[scale])
    shapes = _conv("conv0.conv2d.", 16, 1, 1) | _conv("conv_out.conv2d.", 1, 64, 1)
    for name, (inputs, outputs) in blocks.items():
        shapes |= _conv(f"{name}.denseblock.0.conv2d.", inputs // 2, inputs, 3)
        shapes |= _conv(f"{name}.denseblock.1.conv2d.", outputs, inputs // 2, 1)
    for scale, c in enumerate(widths, 1):
        layers = {"conv_fusion": (2 * c, 3), "conv_ir": (c, 3), "conv_vi": (c, 3)}
        layers |= {"bottelblock.0": (2 * c, 1), "bottelblock.1": (c, 3), "bottelblock.2": (c, 3)}
        for name, (inputs, size) in layers.items():
            shapes |= _conv(f"fusion_block{scale}.{name}.conv2d.", c, inputs, size)
    return shapes


def _defusion(common: tuple[int, ...]) -> Shapes:
    shapes = _conv("encoder_upper.0.", 16, 3, 3)
    shapes |= _bottlenecks("encoder_upper.2", 16, 8, 6, "downsample.1")
    for number, (inputs, width, count) in enumerate(((32, 16, 6), (64, 32, 4), (128, 64, 4)), 1):
        name = f"upper_encoder_layer{number}"
        shapes |= _bottlenecks(name, inputs, width, count, "downsample.1")
    shapes |= _bottlenecks("common_encoder.0", 512, 256, 4, "downsample.1")
    decoders = {
        "common": ((1536, 512, 192, 16), (64, 16, 4, 4), common),
        "upper": ((1280, 512, 192, 64), (96, 32, 16, 4), (4, 4, 6, 6)),
    }
    for part, sizes in decoders.items():
        for number, (inputs, width, count) in enumerate(zip(*sizes, strict=True), 1):
            name = f"decoder_{part}_layer{number}" + (".0" if number == 4 else "")
            shapes |= _bottlenecks(name, inputs, width, count, "downsample.0")
        shapes |= _conv(f"decoder_{part}_projection_layer.0.", 3, 16, 3)
    return shapes | _conv("fusion_rule.0.", 3, 16, 3)


def _bottlenecks(name: str, inputs: int, width: int, count: int, shortcut: str) -> Shapes:
    shapes: Shapes = {}
    hidden = max(width // 2, 32)
    for index in range(count):
        block = f"{name}.layer.{index}."
        shapes |= {
            f"{block}conv1.weight": (width, 4 * width if index else inputs, 1, 1),
            f"{block}conv2.conv.weight": (2 * width, width // 2, 3, 3),
            **_conv(f"{block}conv2.fc1.", hidden, width, 1),
            **_conv(f"{block}conv2.fc2.", 2 * width, hidden, 1),
            f"{block}conv3.weight": (4 * width, width, 1, 1),
        }
        if index == 0 and inputs != 4 * width:
            shapes[f"{block}{shortcut}.weight"] = (4 * width, inputs, 1, 1)
    return shapes


LAYOUTS: Mapping[str, Shapes] = {
    "didfuse": _didfuse(),
    "u2fusion": _u2fusion(),
    "sdnet": _sdnet(),
    "tardal": _tardal(),
    "reconet": _reconet(),
    "emfusion": _emfusion(),
}
