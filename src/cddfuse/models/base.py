"""The contract of all fusion networks, and the facts that their files declare."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from torch import Tensor, nn

Task = Literal["ivf", "mif"]


@dataclass(frozen=True)
class Weights:
    """Trained weights of a network that are shipped in the package."""

    location: str
    """Name of the file in `cddfuse/models/pretrained`."""

    sha256: str
    """Checksum of the file, verified before it is read."""

    licence: str
    """Licence of the file, and terms of the training data."""

    trained_on: str
    """Data set, and number of pairs."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """Constructor arguments that these weights were trained with."""

    task: Task = "ivf"
    """Task that they were trained for; a task without weights given gets the first of these."""

    training: str = ""
    """Number of steps, duration."""


@dataclass(frozen=True)
class Published:
    """Conventions of the authors' programs: information only, shown by `cddfuse models --json`.

    The network's own file converts value range and order. How results are saved matters when scores
    are compared with published ones.
    """

    values: str
    """Value range of the graph's inputs: "[0, 1]", "[-1, 1]", "[0, 255]"."""

    order: str
    """Which source is the graph's first input."""

    colour: str
    """Which source the colour of the result is from, and the colour space."""

    saved: Literal["rounded", "truncated", "stretched"]
    """Conversion to 8 bits. Stretched: each image to its full range (the option `stretch`)."""

    licence: str
    """Licence of the authors' code and weights, of which nothing is shipped here."""

    weights: str
    """Published weights files, for `cddfuse weights import`."""

    norms: str = "none"
    """Kind of normalisation; for batch norms, which statistics are used when fusing."""


@dataclass(frozen=True)
class Card:
    """Facts about a network that other parts of the package rely on."""

    name: str
    """The only name: in `create_model`, in the command line, in tables and in file names."""

    paper: str
    """URL; empty for trivial baselines."""

    tasks: tuple[Task, ...] = ("ivf", "mif")
    """Tasks that the method was published for; the first is the default."""

    parameters: int = 0
    """Number of parameters with the default options."""

    training_only: tuple[str, ...] = ()
    """Child modules that only training uses: they do not influence the fused image."""

    multiple_of: int = 1
    """Height and width must be multiples of this. `runtime` pads; the network need not."""

    smallest: int = 1
    """Minimum height and width. `runtime` pads smaller images."""

    receptive_radius: int | None = None
    """Largest distance, along either axis, of input pixels that an output pixel depends on.

    Tiles that overlap by as much are exact. None: the whole image, so no tiling is exact.
    """

    bf16: bool = False
    """Whether it is fused in bf16 by default on GPUs that have it."""

    bytes_per_pixel: int | None = None
    """Peak memory of fusing, where it is known; None: it is measured, a second once a process."""

    task_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Constructor arguments by task, for weights that do not say which they need."""

    requires: tuple[str, ...] = ()
    """Packages of the extra `classical` that the method needs."""

    published: Published | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    """Shipped weights by name; the first is the default."""


class Part(NamedTuple):
    """Features of one kind, of both sources and after fusion; each (B, C, H, W).

    The size may be smaller than that of the images.
    """

    first: Tensor | None
    """None where the kind is not computed for each source alone."""

    second: Tensor | None
    fused: Tensor


@dataclass(frozen=True)
class Decomposed:
    """A pair in the parts that a network takes it apart into, and how they become an image."""

    parts: Mapping[str, Part]
    """By kind, in the words of the paper."""

    join: Callable[[Mapping[str, Tensor], Tensor | None], Tensor]
    """Fused features by kind, and the residual or None, to the fused image (B, 1, H, W)."""

    residual: Tensor | None = None
    """The image (B, 1, H, W) that the decoder's output is added to, if there is one."""

    border: int = 0
    """Pixels that the features have around the image, on every side."""


Kind = TypeVar("Kind", bound="FusionModel")


class FusionModel(nn.Module):
    """Two registered grey images in, one fused grey image out.

    Shapes: (B, 1, H, W) and (B, 1, H, W) to (B, 1, H, W). Values: [0, 1] throughout.
    Colour, padding, tiling, files and metrics are handled elsewhere.

    `from_pretrained`, `save_pretrained` and `push_to_hub` are those of the Hugging Face hub.
    """

    card: Card
    """Of the class; a network sets one of its own where an option changes a fact."""

    _helpers: tuple[str, ...] = ()
    _constructor_options: Mapping[str, Any] = {}

    def __new__(cls: type[Kind], *args: Any, **kwargs: Any) -> Kind:
        """Note the constructor's arguments, as far as JSON holds them, for files of weights."""
        model = super().__new__(cls)
        expected = [*signature(cls.__init__).parameters.values()][1:]
        given = {**dict(zip((one.name for one in expected), args, strict=False)), **kwargs}
        defaults = {one.name: one.default for one in expected if one.default is not Parameter.empty}
        options = {**defaults, **given}
        model._constructor_options = {name: x for name, x in options.items() if _in_json(x)}
        return model

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse a batch. Networks override this; nothing else is required."""
        raise NotImplementedError

    def decomposed(self, first: Tensor, second: Tensor) -> Decomposed | None:
        """The pair in parts, for `cddfuse.explain`: joined again, they are what `forward` gives.

        None if the network has no such parts. Those without leave this alone.
        """
        return None

    def add_helper(self, name: str, module: nn.Module) -> None:
        """Add a child that only training needs, such as a discriminator.

        It is part of the state of a training run, but not of the saved weights.
        """
        self.add_module(name, module)
        self._helpers = (*self._helpers, name)

    def weights(self) -> dict[str, Tensor]:
        """The state dict without helpers."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.partition(".")[0] not in self._helpers
        }

    @classmethod
    def from_pretrained(cls: type[Kind], source: str | Path, **settings: Any) -> Kind:
        """Network from a folder or a repository of the Hugging Face hub."""
        from cddfuse.models import hub  # imported late, see there

        model: Kind = hub.load(cls, source, settings)
        return model

    def save_pretrained(self, folder: str | Path, **settings: Any) -> str | None:
        """Write the network to a folder, as the hub has it."""
        from cddfuse.models import hub

        return hub.on_hub(self).save_pretrained(folder, **settings)

    def push_to_hub(self, repository: str, **settings: Any) -> str:
        """Upload the network to the hub."""
        from cddfuse.models import hub

        return hub.on_hub(self).push_to_hub(repository, **settings)

    @classmethod
    def convert_checkpoint(cls, checkpoint: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """State dict of this class from a checkpoint in its authors' layout.

        None if the checkpoint does not look like one of theirs. Networks without a foreign
        layout leave this alone.
        """
        return None

    @classmethod
    def implied_options(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments that follow from a checkpoint in its authors' layout.

        Called only where `convert_checkpoint` gives a state dict.
        """
        return {}


def _in_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
