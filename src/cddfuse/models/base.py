"""What every fusion network promises, and what its file declares about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn


@dataclass(frozen=True)
class Weights:
    """One trained state of a network, shipped in the package."""

    location: str
    """File name in `cddfuse/models/pretrained`."""

    sha256: str
    """Of the file, checked before it is read."""

    licence: str
    trained_on: str

    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments that these weights were trained with."""


@dataclass(frozen=True)
class Card:
    """The facts about a network that other parts of the package may rely on."""

    name: str
    """The only name: in `create_model`, in the command line, in tables and in file names."""

    paper: str

    multiple_of: int = 1
    """Image sides must divide by this. `runtime` pads; the network need not."""

    smallest: int = 1
    """Least image side the network can take. `runtime` pads what is smaller."""

    weights: Mapping[str, Weights] = field(default_factory=dict)
    """By name; the first is the default."""


class FusionModel(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="cddfuse",
    tags=["image-fusion", "infrared", "visible", "medical"],
):
    """Two registered grey images in, one fused grey image out.

    Shapes: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W). Values: [0, 1] throughout.
    Colour, padding, tiling, files and metrics are other people's work.

    `from_pretrained`, `save_pretrained` and `push_to_hub` are those of the Hugging Face hub.
    """

    card: ClassVar[Card]

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse. Every network overrides this and nothing else is required of it."""
        raise NotImplementedError

    @classmethod
    def _from_pretrained(cls, **facts: Any) -> "FusionModel":
        # The mixin would leave what does not fit as it was born: a network of noise.
        return super()._from_pretrained(**{**facts, "strict": True})

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict of this class from a checkpoint in its authors' layout.

        None if the checkpoint does not look like one of theirs. Networks without a foreign
        layout leave this alone.
        """
        return None
