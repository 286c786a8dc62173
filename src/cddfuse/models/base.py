"""What every fusion network promises, and what its file declares about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

Task = Literal["ivf", "mif"]


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

    task: Task = "ivf"
    """What they are for: `--task` chooses by it."""

    training: str = ""
    """How long it took: steps, time."""


@dataclass(frozen=True)
class Published:
    """How the authors' programs treat images, files and rights. Told, not acted upon.

    The network's own file converts range and order, so nobody else has to know them; what is done
    to a result when it is saved matters to whoever compares scores with published ones.
    """

    values: str
    """Range that the graph takes: "[0, 1]", "[-1, 1]", "[0, 255]"."""

    order: str
    """Which source the graph takes first."""

    colour: str
    """What becomes of it."""

    saved: Literal["rounded", "truncated", "stretched"]
    """From values to 8 bits. Stretched: each image to its full range (`fuse --stretch`)."""

    licence: str
    """Of the authors' code and weights; nothing of them is shipped here."""

    weights: str
    """Which there are, for `cddfuse weights import`."""

    norms: str = "none"
    """Kind of the norms, and of batch norms whose statistics fuse."""


@dataclass(frozen=True)
class Card:
    """The facts about a network that other parts of the package may rely on."""

    name: str
    """The only name: in `create_model`, in the command line, in tables and in file names."""

    paper: str
    """Its address; empty for what nobody has to explain."""

    tasks: tuple[Task, ...] = ("ivf", "mif")
    """What it was made for."""

    parameters: int = 0
    """Of the network with its default options."""

    training_only: tuple[str, ...] = ()
    """Child modules without influence on the fused image: only training uses them."""

    multiple_of: int = 1
    """Image sides must divide by this. `runtime` pads; the network need not."""

    smallest: int = 1
    """Least image side the network can take. `runtime` pads what is smaller."""

    receptive_radius: int | None = None
    """An output pixel depends on input pixels up to this far away, along either axis.

    Tiles that overlap by as much are exact. None: on the whole image, so no tiling is exact.
    """

    task_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Constructor arguments that a task needs, for weights that do not come with their own."""

    requires: tuple[str, ...] = ()
    """Packages of the extra `classical` that it is made with."""

    published: Published | None = None
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

    card: Card
    """Of the class. A network sets its own where an option changes a fact."""

    _helpers: tuple[str, ...] = ()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Fuse. Every network overrides this and nothing else is required of it."""
        raise NotImplementedError

    def add_helper(self, name: str, module: nn.Module) -> None:
        """Add a child that only training needs, such as a discriminator.

        It belongs to the state of a run, and is not among the weights that are saved.
        """
        self.add_module(name, module)
        self._helpers = (*self._helpers, name)

    def weights(self) -> dict[str, Tensor]:
        """The state without helpers."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name.partition(".")[0] not in self._helpers
        }

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

    @classmethod
    def implied_options(cls, checkpoint: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments that follow from a checkpoint in its authors' layout.

        Called only where `convert_checkpoint` gives a state dict.
        """
        return {}
