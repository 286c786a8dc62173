"""Networks in the layout of the Hugging Face hub.

Only this module needs the hub's client, whose import takes a sixth of that of the package: it is
imported when it is used.
"""

from copy import copy
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin

_TAGS = ["image-fusion", "infrared", "visible", "medical"]


def load(kind: Any, source: str | Path, settings: dict[str, Any]) -> Any:
    """Network of a class from a folder or a repository, by the hub's `from_pretrained`."""
    model = _on_hub(kind).from_pretrained(source, **settings)
    model._constructor_options = model._hub_mixin_config or {}
    model.__class__ = kind
    return model


def on_hub(model: Any) -> PyTorchModelHubMixin:
    """The network, weights shared, with the methods of the hub."""
    twin: Any = copy(model)
    kind: Any = type(model)
    twin.__class__ = _on_hub(kind)
    twin._hub_mixin_config = dict(model._constructor_options)
    mixin: PyTorchModelHubMixin = twin
    return mixin


@cache
def _on_hub(kind: Any) -> Any:
    class OnHub(PyTorchModelHubMixin, kind, library_name="cddfuse", tags=_TAGS):  # type: ignore[misc]
        @classmethod
        def _from_pretrained(cls, **facts: Any) -> Any:
            # By default, the mixin leaves weights that do not fit as they were initialised: noise.
            return super()._from_pretrained(**{**facts, "strict": True})

    OnHub.__name__ = kind.__name__
    return OnHub
