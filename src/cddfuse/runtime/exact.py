"""The exact fast form of CDDFuse: patch by patch, in little memory, on all processors.

Everything in the network but one thing is local: what a layer makes of a pixel depends on the 3 x 3
pixels around it. So each layer is computed for one patch of the image after another, and its wide
temporaries (up to 256 channels) exist for one patch at a time, which fits the cache. The exception
is attention, whose matrices are sums over all pixels: two passes, first the sums, then the rest.

Rearranged, and still the same: 1x1 and 3x3 convolution of a base branch are one 3x3 convolution; so
are those of its values with attention and projection; in the other blocks attention and projection
are one 1x1. Maps are (H, W, channels), images (H, W, 1).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise, product
from threading import local
from typing import NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cddfuse.models.cddfuse import (
    CDDFuse,
    ChannelAttention,
    ChannelNorm,
    DetailNode,
    GatedFeedForward,
    PixelLinear,
    TransformerBlock,
)
from cddfuse.runtime.loops import Loops, loops
from cddfuse.threads import a_band_each, over

CHANNELS, HALF = 64, 32
BYTES_PER_PIXEL = 4 * 4 * CHANNELS + 64  # four maps, and the images
SIDE = 128  # of a patch, in pixels
_CACHE = 2**20  # bytes of what is wide at a time: more leaves the cache, less is more calls
Result = TypeVar("Result")


class Patch(NamedTuple):
    """A rectangle of an image."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Tensor) -> Tensor:
        """The part of an image (H, W, ...)."""
        return image[self.top : self.bottom, self.left : self.right]


def patches(height: int, width: int, side: int) -> list[Patch]:
    """Cut an image into patches of much the same size, at most `side` x `side`."""
    rows, columns = (_cuts(length, side) for length in (height, width))
    return [Patch(top, left, low, right) for (top, low), (left, right) in product(rows, columns)]


def _cuts(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    edges = [length * index // count for index in range(count + 1)]
    return list(pairwise(edges))


class Fast:
    """A CDDFuse, ready to fuse.

    Args:
        model: the network, with the branches of the release. Its weights are copied: make another
            `Fast` when they change.
        side: of a patch, in pixels.
    """

    @staticmethod
    def suits(model: nn.Module) -> bool:
        """Whether a network has this form: a CDDFuse in float32, and no ablation of it."""
        return (
            isinstance(model, CDDFuse)
            and type(model).forward is CDDFuse.forward
            and type(model).decompose is CDDFuse.decompose
            and all(
                isinstance(x, TransformerBlock) for x in (model.encoder.base, model.base_fusion)
            )
            and all(
                isinstance(x, nn.Sequential) for x in (model.encoder.detail, model.detail_fusion)
            )
            and model.decoder.reduce.weight.dtype == torch.float32
        )

    def __init__(self, model: CDDFuse, side: int = SIDE) -> None:
        self._side = side
        room = Room(model.decoder.reduce.weight.device)

        def layers(blocks: Iterable[nn.Module]) -> list[Step]:
            return [layer for block in blocks for layer in _layers(block, room)]

        encoder, decoder = model.encoder, model.decoder
        self._residual_image = model.residual_image
        self._embed = Convolution(encoder.embedding, room)
        self._blocks = layers(encoder.blocks)
        self._base, self._detail = layers([encoder.base]), layers(encoder.detail)  # type: ignore[arg-type]
        self._fuse_base = layers([model.base_fusion])
        self._fuse_detail = layers(model.detail_fusion)  # type: ignore[arg-type]
        self._reduce = _matrix(decoder.reduce)
        self._decode = layers(decoder.blocks)
        narrow, bend, draw = cast(tuple[nn.Conv2d, nn.LeakyReLU, nn.Conv2d], tuple(decoder.output))
        self._narrow = Convolution(narrow, room, bend.negative_slope)
        self._draw = Convolution(draw, room)

    @torch.inference_mode()
    def __call__(
        self,
        first: Tensor,
        second: Tensor,
        given: Sequence[Tensor] | None = None,
        found: list[Tensor] | None = None,
    ) -> Tensor:
        """Fuse a pair (1, 1, H, W).

        Args:
            first: the first image.
            second: the second image.
            given: the matrices of all attentions, where they are not to be those of this pair.
            found: receives the matrices of this pair.
        """
        with a_band_each():
            height, width = first.shape[-2:]
            run = Run(patches(height, width, self._side), given, found)
            x, spare, base = (first.new_empty(height, width, CHANNELS) for _ in range(3))
            x, spare = self._shallow(run, first, x, spare)
            run.through(self._base, x, spare, into=base)
            detail, spare = run.through(self._detail, x, spare)
            # Of the second image the sums are all that is needed: four maps at most.
            x, other = self._shallow(run, second, spare, torch.empty_like(spare))
            run.through(self._base, x, other, into=base, add=True)
            run.through(self._detail, x, other, into=detail, add=True)
            spare = x
            del x, other
            base, spare = run.through(self._fuse_base, base, spare)
            detail, spare = run.through(self._fuse_detail, detail, spare)
            self._merge(run, base, detail, spare)
            x, _ = run.through(self._decode, spare, base)
            del base, detail, spare
            narrow = x.new_empty(*x.shape[:2], CHANNELS // 2)
            run.each(self._narrow, x, narrow)
            image = x.new_empty(*x.shape[:2], 1)
            run.each(self._draw, narrow, image)
        residual = self._residual_image(first, second)
        fused = image.permute(2, 0, 1)[None]
        return (fused if residual is None else fused + residual).sigmoid()

    def _shallow(
        self, run: "Run", image: Tensor, x: Tensor, spare: Tensor
    ) -> tuple[Tensor, Tensor]:
        run.each(self._embed, image[0].permute(1, 2, 0), x)
        return run.through(self._blocks, x, spare)

    def _merge(self, run: "Run", base: Tensor, detail: Tensor, out: Tensor) -> None:
        def work(patch: Patch) -> None:
            both = torch.cat([patch.of(base), patch.of(detail)], dim=2)
            patch.of(out).copy_(both @ self._reduce)

        run.everywhere(work)


class Run:
    """One pair on its way through the network."""

    def __init__(
        self, cut: list[Patch], given: Sequence[Tensor] | None, found: list[Tensor] | None
    ) -> None:
        self._cut = cut
        self._given: Iterator[Tensor] | None = None if given is None else iter(given)
        self._found = found

    def everywhere(self, work: Callable[[Patch], Result]) -> list[Result]:
        """Do something with every patch, several at a time."""
        return over(torch.inference_mode()(work), self._cut)  # a mode holds for one thread only

    def through(
        self,
        layers: Sequence["Step"],
        x: Tensor,
        spare: Tensor,
        into: Tensor | None = None,
        *,
        add: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Send a map through layers, back and forth between it and another one.

        Args:
            layers: one after another.
            x: the map; it stays as it is if there are two layers and `into`.
            spare: of the same size.
            into: where the last layer puts its result, if not into one of the two.
            add: the last layer adds it to what is there.

        Returns:
            The map with the result, without `into`, and the other one.
        """
        for step in layers:
            layer = step.values(self._matrix(step, x)) if isinstance(step, Attention) else step
            if into is not None and step is layers[-1]:
                self.each(layer, x, into, add=add)
            else:
                self.each(layer, x, spare)
                x, spare = spare, x
        return x, spare

    def each(self, layer: "Layer", x: Tensor, target: Tensor, *, add: bool = False) -> None:
        """Fill a map, or add to it, with what a layer makes of another one."""
        self.everywhere(lambda patch: layer(x, patch, target, add=add))

    def _matrix(self, layer: "Attention", x: Tensor) -> Tensor:
        if self._given is not None:
            return next(self._given)
        sums = self.everywhere(lambda patch: layer.sums(x, patch))
        matrix = layer.matrix(*(torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)))
        if self._found is not None:
            self._found.append(matrix)
        return matrix


class Room(local):
    """Room for the temporaries of a patch, used again and again. Each thread has its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.loops: Loops = loops(device.type)
        self._pieces: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Room of a shape, with anything in it. A name is one piece of room."""
        count = torch.Size(shape).numel()
        piece = self._pieces.get(name)
        if piece is None or piece.numel() < count:
            piece = self._pieces[name] = torch.empty(count, device=self.device)
        return piece[:count].view(shape)


def times(x: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
    """Fill a map with every pixel of another one times a matrix."""
    torch.mm(x.flatten(0, 1), matrix, out=out.flatten(0, 1))
    return out


class Layer:
    """A layer with its weights laid out for patches: every pixel is made wide, then looks around.

    A patch is gone through in a few rows at a time, which stay in the cache from beginning to end.
    """

    shortcut = False
    """Whether the map itself is added to the result."""

    width: int
    """Channels of what is wide."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.loops = room.loops

    def __call__(self, x: Tensor, patch: Patch, target: Tensor, *, add: bool = False) -> None:
        """Fill a patch of a map, or add to it, with what becomes of x, (H, W, channels)."""

        def finish(wide: Tensor, top: int) -> None:
            result = self.looked(wide, x, top, patch.left)
            self.loops.put(result, x, top, patch.left, self.shortcut, add, target)

        self.over_rows(x, patch, finish)

    def over_rows(self, x: Tensor, patch: Patch, finish: Callable[[Tensor, int], None]) -> None:
        """Hand over rows of what is wide, with one more on each side, and their place in the map.

        That is the first row which `finish` has a result for; what is wide begins one row above it.
        """
        rows, columns = patch.bottom - patch.top + 2, patch.right - patch.left + 2
        wide = self.room("wide", rows, columns, self.width)
        step = max(_CACHE // (4 * columns * self.width), 3)
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            self.widen(x, patch.top - 1 + start, patch.left - 1, wide[start:stop])
            if stop > 2:
                begin = max(start - 2, 0)
                finish(wide[begin:stop], patch.top + begin)

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        """Fill rows of what is wide from the map around a place, which may lie outside."""
        raise NotImplementedError

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        """What becomes of rows: (h, w, channels). Their wide form has a pixel more on each side."""
        raise NotImplementedError


class Convolution(Layer):
    """3x3, zeros outside, perhaps followed by a leaky ReLU."""

    def __init__(self, module: nn.Conv2d, room: Room, slope: float = 1.0) -> None:
        super().__init__(room)
        self.weight = module.weight.detach()
        self.width = module.in_channels
        self.slope = slope

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        self.loops.load(x, top, left, False, out)

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        return F.leaky_relu(_convolved(wide, self.weight), self.slope)


class Normed(Layer):
    """A layer that begins with a norm over the channels."""

    def __init__(self, norm: ChannelNorm, room: Room) -> None:
        super().__init__(room)
        self.scale, self.shift = norm.weight.detach(), norm.bias.detach()

    def normed(self, x: Tensor, top: int, left: int, rows: int, columns: int) -> Tensor:
        """The map around a place after the norm; zeros outside, which stay so without a bias."""
        out = self.room("normed", rows, columns, x.shape[2])
        self.loops.norm(x, top, left, self.scale, self.shift, out)
        return out


class Attention:
    """Norm, attention and shortcut: two layers, the second of which needs a matrix from the first.

    Args:
        block: whose attention it is.
        room: for both layers.
        queries_and_keys: what makes (h, w, 2C) of (h, w, C).
    """

    def __init__(self, block: TransformerBlock, room: Room, queries_and_keys: Layer) -> None:
        self.room, self.loops = room, room.loops
        self.norm = block.norm1
        self.module = _attention(block)
        self.queries_and_keys = queries_and_keys

    def sums(self, x: Tensor, patch: Patch) -> tuple[Tensor, Tensor]:
        """Products of queries and keys, (C, C), and squares of both, (2C,), summed over a patch."""
        products, squares = x.new_zeros(CHANNELS, CHANNELS), x.new_zeros(2 * CHANNELS)

        def add(wide: Tensor, top: int) -> None:
            both = self.queries_and_keys.looked(wide, x, top, patch.left).flatten(0, 1)
            products.addmm_(both[:, :CHANNELS].t(), both[:, CHANNELS:])
            self.loops.add_squares(both, squares)

        self.queries_and_keys.over_rows(x, patch, add)
        return products.double(), squares.double()

    def matrix(self, products: Tensor, squares: Tensor) -> Tensor:
        """Attention and projection in one (C, C), from the sums over all patches."""
        queries, keys = squares.sqrt().float()[None].chunk(2, dim=1)
        return self.module.merged(products.float()[None], queries, keys)[0]

    def values(self, matrix: Tensor) -> Layer:
        """What is done once the matrix is known."""
        raise NotImplementedError


class DepthwiseAttention(Attention):
    """Of encoder and decoder: 1x1, then depthwise 3x3."""

    def __init__(self, block: TransformerBlock, room: Room) -> None:
        module, sizes = _attention(block), (2 * CHANNELS, CHANNELS)
        expand, mix = _matrix(module.expand).split(sizes, 1), _places(module.mix).split(sizes, 1)
        super().__init__(block, room, Depthwise(block.norm1, room, expand[0], mix[0]))
        self.expand, self.mix = expand[1], mix[1]

    def values(self, matrix: Tensor) -> Layer:
        return Depthwise(self.norm, self.room, self.expand, self.mix, matrix.t())


class Depthwise(Normed):
    """Norm, 1x1, depthwise 3x3; and with a matrix another 1x1 and a shortcut."""

    def __init__(
        self,
        norm: ChannelNorm,
        room: Room,
        expand: Tensor,
        mix: Tensor,
        project: Tensor | None = None,
    ) -> None:
        super().__init__(norm, room)
        self.expand, self.mix = expand.contiguous(), mix.contiguous()
        self.project = None if project is None else project.contiguous()
        self.shortcut = project is not None
        self.width = expand.shape[1]

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        times(self.normed(x, top, left, *out.shape[:2]), self.expand, out)

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        rows, columns = wide.shape[0] - 2, wide.shape[1] - 2
        mixed = self.room("mixed", rows, columns, self.width)
        self.loops.depthwise(wide, self.mix, mixed)
        if self.project is None:
            return mixed
        return times(mixed, self.project, self.room("result", rows, columns, CHANNELS))


class DenseAttention(Attention):
    """Of the base branches: 1x1 and full 3x3, composed."""

    def __init__(self, block: TransformerBlock, room: Room) -> None:
        kernel, value = _attention(block).kernel().detach().split((2 * CHANNELS, CHANNELS))
        super().__init__(block, room, Dense(block.norm1, room, kernel))
        self.kernel = value

    def values(self, matrix: Tensor) -> Layer:
        kernel = torch.einsum("om,mihw->oihw", matrix, self.kernel)
        return Dense(self.norm, self.room, kernel, shortcut=True)


class Dense(Normed):
    """Norm, 3x3, and perhaps a shortcut."""

    width = CHANNELS

    def __init__(
        self, norm: ChannelNorm, room: Room, kernel: Tensor, *, shortcut: bool = False
    ) -> None:
        super().__init__(norm, room)
        self.kernel = kernel.contiguous(memory_format=torch.channels_last)
        self.shortcut = shortcut

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        self.loops.norm(x, top, left, self.scale, self.shift, out)

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        return _convolved(wide, self.kernel)


class FeedForward(Normed):
    """Norm, gated feed-forward of encoder and decoder, and shortcut."""

    shortcut = True

    def __init__(self, block: TransformerBlock, room: Room) -> None:
        super().__init__(block.norm2, room)
        module = block.feed_forward
        assert isinstance(module, GatedFeedForward)
        self.expand, self.project = _matrix(module.expand), _matrix(module.project)
        self.width = self.expand.shape[1]
        self.mix = _places(module.mix).unflatten(1, (2, -1))

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        times(self.normed(x, top, left, *out.shape[:2]), self.expand, out)

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        rows, columns = wide.shape[0] - 2, wide.shape[1] - 2
        gated = self.gated(wide, rows, columns)
        return times(gated, self.project, self.room("result", rows, columns, CHANNELS))

    def gated(self, wide: Tensor, height: int, width: int) -> Tensor:
        """The 3x3 convolution, and one half gating the other: (h, w, half)."""
        out = self.room("mixed", height, width, self.width // 2)
        self.loops.gate(wide.unflatten(2, (2, -1)), self.mix, out)
        return out


class PairedFeedForward(FeedForward):
    """The one of the base branches, whose 3x3 convolution is in groups of two channels.

    Channels are sorted so that even and odd ones lie together, which compiled loops like.
    """

    def __init__(self, block: TransformerBlock, room: Room) -> None:
        super().__init__(block, room)
        order = torch.arange(self.width).view(2, -1, 2).transpose(1, 2).flatten()
        self.expand = self.expand[:, order].contiguous()
        self.project = self.project[order[: self.width // 2]].contiguous()
        weight = cast(GatedFeedForward, block.feed_forward).mix.weight.detach()
        weight = weight.view(2, -1, 2, 2, 9)  # halves, groups, out, in, places
        self.mix = weight.permute(4, 0, 3, 2, 1).contiguous()

    def gated(self, wide: Tensor, height: int, width: int) -> Tensor:
        out = self.room("mixed", height, width, 2, self.width // 4)
        self.loops.gate_pairs(wide.unflatten(2, (2, 2, -1)), self.mix, out)
        return out.flatten(2)


class CouplingOne(Layer):
    """First half of a detail node: shuffle, and the first channels change the second ones.

    What is wide: the first channels expanded, then all of them shuffled.
    """

    width = 2 * CHANNELS

    def __init__(self, node: DetailNode, room: Room) -> None:
        super().__init__(room)
        assert node.shuffle.bias is not None
        shuffle, shift = _matrix(node.shuffle), node.shuffle.bias.detach()
        expand, self.mix, self.project = _bottleneck(node.phi)
        self.expand = torch.cat([shuffle[:, :HALF] @ expand, shuffle], dim=1)
        self.shift = torch.cat([shift[:HALF] @ expand, shift])

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        loaded = self.room("loaded", *out.shape[:2], CHANNELS)
        self.loops.load(x, top, left, True, loaded)
        self.loops.bend(self.shift, CHANNELS, times(loaded, self.expand, out).flatten(0, 1))

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        rows, columns = wide.shape[0] - 2, wide.shape[1] - 2
        mixed = self.room("mixed", rows, columns, CHANNELS)
        self.loops.depthwise_relu6(wide, self.mix, mixed)
        out = self.room("result", rows, columns, CHANNELS).copy_(wide[1:-1, 1:-1, CHANNELS:])
        out.flatten(0, 1)[:, HALF:].addmm_(mixed.flatten(0, 1), self.project)
        return out


class CouplingTwo(Layer):
    """Second half of a detail node: the second channels scale and shift the first ones."""

    width = 2 * CHANNELS

    def __init__(self, node: DetailNode, room: Room) -> None:
        super().__init__(room)
        parts = zip(_bottleneck(node.rho), _bottleneck(node.eta), strict=True)
        expand, mix, (self.scale, self.shift) = parts
        self.expand = torch.cat(expand, dim=1)
        self.mix = torch.cat(mix, dim=1)
        self.nothing = torch.zeros_like(self.mix[0])

    def widen(self, x: Tensor, top: int, left: int, out: Tensor) -> None:
        loaded = self.room("loaded", *out.shape[:2], CHANNELS)
        self.loops.load(x, top, left, True, loaded)
        wide = out.flatten(0, 1)
        torch.mm(loaded.flatten(0, 1)[:, HALF:], self.expand, out=wide)
        self.loops.bend(self.nothing, self.width, wide)

    def looked(self, wide: Tensor, x: Tensor, top: int, left: int) -> Tensor:
        rows, columns = wide.shape[0] - 2, wide.shape[1] - 2
        mixed = self.room("mixed", rows, columns, self.width)
        self.loops.depthwise_relu6(wide, self.mix, mixed)
        before = mixed.flatten(0, 1).split(CHANNELS, dim=1)
        scale, shift = (self.room(name, rows, columns, HALF) for name in ("scale", "shift"))
        torch.mm(before[0], self.scale, out=scale.flatten(0, 1))
        torch.mm(before[1], self.shift, out=shift.flatten(0, 1))
        out = self.room("result", rows, columns, CHANNELS)
        self.loops.couple(x, top, left, scale.exp_(), shift, out)
        return out


Step = Layer | Attention


def _attention(block: TransformerBlock) -> ChannelAttention:
    assert isinstance(block.attention, ChannelAttention)
    return block.attention


def _layers(block: nn.Module, room: Room) -> list[Step]:
    """The layers that a block is made of."""
    if isinstance(block, DetailNode):
        return [CouplingOne(block, room), CouplingTwo(block, room)]
    assert isinstance(block, TransformerBlock)
    if _attention(block).dense:
        return [DenseAttention(block, room), PairedFeedForward(block, room)]
    return [DepthwiseAttention(block, room), FeedForward(block, room)]


def _matrix(module: PixelLinear) -> Tensor:
    """Of a 1x1 convolution: (inputs, outputs)."""
    return module.weight.detach()[:, :, 0, 0].t().contiguous()


def _places(module: nn.Conv2d) -> Tensor:
    """Of a depthwise 3x3 convolution: (9, channels)."""
    return module.weight.detach().flatten(1).t().contiguous()


def _bottleneck(module: nn.Sequential) -> tuple[Tensor, Tensor, Tensor]:
    expand, _, _, mix, _, project = module
    return (
        _matrix(cast(PixelLinear, expand)),
        _places(cast(nn.Conv2d, mix)),
        _matrix(cast(PixelLinear, project)),
    )


def _convolved(window: Tensor, weight: Tensor) -> Tensor:
    """A full 3x3 convolution of (h + 2, w + 2, channels)."""
    return F.conv2d(window.permute(2, 0, 1)[None], weight)[0].permute(1, 2, 0).contiguous()
