"""The networks that are offered, loaded when they are first asked for."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from cddfuse.errors import InputError
from cddfuse.explain.features import decomposes
from cddfuse.fuse import fuse
from cddfuse.models import MODELS
from cddfuse.models.base import FusionModel
from cddfuse.models.load import DEFAULT, load_network
from cddfuse.pair import ImagePair
from cddfuse.serve.queue import check_current

_SMALL = "cddfuse_small"
_TRIALS = 64, 256  # sides of images; the first one is slow
_TELLING = 50_000  # pixels of an image that shows how long a network takes
_POINTLESS = ("first", "second")  # methods that give back what they are given


@dataclass(frozen=True)
class Offer:
    """A network with weights."""

    name: str
    weights: str | None

    @property
    def label(self) -> str:
        """What clients call it; of a file, only the stem is shown."""
        if self.weights is None:
            return self.name
        file = Path(self.weights).expanduser()
        shown = file.stem if file.exists() or file.is_absolute() else self.weights
        return f"{self.name}={shown}"

    def facts(self) -> dict[str, Any]:
        """What clients may know of it."""
        kind = MODELS[self.name]
        known = kind.card.weights.get(self.weights or "")
        return {
            "name": self.label,
            "task": known.task if known else None,
            "trained_on": known.trained_on if known else None,
            "licence": known.licence if known else None,
            "features": decomposes(kind),
        }


class Networks:
    """The networks by label.

    Args:
        words: NAME or NAME=WEIGHTS, the first being the default; none are all that have weights,
            and the methods without learning.
        device: as for `cddfuse.models.load.find_device`.
    """

    def __init__(self, words: Sequence[str] = (), device: str = "auto") -> None:
        found = [_offer(word) for word in words] or list(_all())
        self.offers: Mapping[str, Offer] = {offer.label: offer for offer in found}
        if len(self.offers) < len(set(found)):
            double = next(x.label for x in found if self.offers[x.label] != x)
            text = f"two networks would be called {double}: rename a file of weights."
            raise InputError(text, setting="models")
        self.default = found[0].label
        self.ready = False
        """Whether the default is loaded and has fused once."""

        self.pace: dict[str, float] = {}
        """Seconds that a network takes for a pixel, as last seen, by label."""

        self._device = device
        self._named = [offer.label for offer in found] if words else []
        self._loaded: dict[str, FusionModel] = {}
        self._lock = Lock()

    def get(self, label: str) -> FusionModel:
        """A network by its label; the empty one is the default."""
        label = label or self.default
        if label not in self.offers:
            raise InputError(
                f"there is no network of that name here: known are {', '.join(self.offers)}.",
                "network",
            )
        with self._lock:
            if label not in self._loaded:
                self._loaded[label] = self._load(self.offers[label])
            return self._loaded[label]

    @property
    def for_clips(self) -> str | None:
        """The small network, which is fast enough for clips; None if it is not offered."""
        return next((label for label, x in self.offers.items() if x.name == _SMALL), None)

    def note_pace(self, label: str, pace: float, pixels: int) -> None:
        """Note how many seconds a network takes for a pixel; small images do not tell."""
        if pixels >= _TELLING:
            self.pace[label or self.default] = pace

    def prepare(self) -> None:
        """Load the networks that were named, and fuse once, so that no request waits for that.

        A second image shows how long the default takes, and how long the network for clips does.
        """
        for label in self._named:
            self.get(label)
        for label in dict.fromkeys((self.default, self.for_clips or self.default)):
            model = self.get(label)
            for side in _TRIALS:
                grey = torch.linspace(0, 1, side * side).reshape(1, side, side)
                started = time.monotonic()
                fuse(model, ImagePair(grey, grey.flip(-1)))
                self.note_pace(label, (time.monotonic() - started) / side**2, side**2)
        self.ready = True

    def _load(self, offer: Offer) -> FusionModel:
        try:
            model = load_network(offer.name, None, offer.weights, device=self._device)
        except InputError as error:
            setting = "models" if error.setting == "weights" else error.setting
            raise InputError(str(error), setting=setting) from error
        for module in model.modules():
            module.register_forward_pre_hook(_check)
        return model


def _check(module: nn.Module, inputs: Any) -> None:
    """Before each layer: the work ends here if nobody waits for it."""
    check_current()


def _offer(word: str) -> Offer:
    name, _, weights = word.partition("=")
    if name not in MODELS:
        known = ", ".join(MODELS)
        raise InputError(f"there is no network {name}: known are {known}.", setting="models")
    return Offer(name, weights or next(iter(MODELS[name].card.weights), None))


def _all() -> Sequence[Offer]:
    """The default network first, then all that have weights, and the methods without learning."""
    names = sorted(MODELS, key=lambda name: name != DEFAULT)
    trained = [Offer(name, weights) for name in names for weights in MODELS[name].card.weights]
    plain = [
        Offer(name, None)
        for name, kind in MODELS.items()
        if not kind.card.weights and not kind.card.parameters and _is_installed(kind)
    ]
    return trained + [offer for offer in plain if offer.name not in _POINTLESS]


def _is_installed(kind: type[FusionModel]) -> bool:
    return all(find_spec(name) for name in kind.card.requires)
