"""The index of detectors and segmenters, and the networks of this package on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from cddfuse.downstream.networks import NETWORKS, WHOLE
from cddfuse.downstream.networks.backbone import SmallBackbone, pretrained_backbone
from cddfuse.downstream.tasks import Name
from cddfuse.errors import InputError
from cddfuse.io import replacing

Kind = Literal["own", "yolox", "yolo"]

INSTRUMENTS: Mapping[Name, Mapping[str, Kind]] = {
    "detect": {"centernet": "own", "yolox": "yolox", "yolo": "yolo"},
    "segment": {"deeplabv3plus": "own", "unet": "own", "segformer": "own"},
}
"""By task: `own` networks of this package, `yolox` of libreyolo, and the program `yolo`."""


def require_known(task: Name, instrument: str) -> Kind:
    """The kind of an instrument."""
    known = INSTRUMENTS[task]
    if instrument not in known:
        setting = "detector" if task == "detect" else "segmenter"
        text = f"there is no {setting} {instrument}: use {', '.join(known)}."
        raise InputError(text, setting)
    return known[instrument]


def takes_backbone(instrument: str) -> bool:
    """Whether a network is built on a backbone that can be given."""
    return instrument in NETWORKS


def code(task: Name, instrument: str) -> str:
    """The file of the package that an instrument is written in."""
    own = require_known(task, instrument) == "own"
    return f"downstream/{'networks/' if own else ''}{instrument}.py"


def build(
    instrument: str, channels: int, classes: int, seed: int, backbone: Path | None = None
) -> nn.Module:
    """A network of this package with initial weights that depend on the seed alone.

    Args:
        instrument: its name.
        channels: of its images.
        classes: that it tells apart.
        seed: of the weights.
        backbone: file of a pretrained ResNet, for networks that take one; None is the small one,
            from scratch.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if instrument in WHOLE:
            return WHOLE[instrument](channels, classes)
        base = pretrained_backbone(backbone, channels) if backbone else SmallBackbone(channels)
        return NETWORKS[instrument](base, classes)


def save(network: nn.Module, path: Path, facts: Mapping[str, str]) -> None:
    """Keep the weights of a network."""
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    with replacing(path) as temporary:
        save_file(state, temporary, dict(facts))


def facts_of(path: Path) -> dict[str, str]:
    """What was kept beside weights; nothing of a damaged file, or of none."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return {}


def restore(network: nn.Module, path: Path) -> bool:
    """Give a network the weights of a file; whether that was possible."""
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        return False
    network.eval()
    return True
