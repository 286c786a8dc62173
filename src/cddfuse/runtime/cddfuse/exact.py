"""The exact fast form of CDDFuse: patch by patch, in little memory, on all cores.

All layers but attention are local: an output pixel depends on 3 x 3 pixels. So each layer is
computed patch by patch, and its wide intermediate values (up to 256 channels) exist for a few rows
of a patch at a time, which fit into the cache. Attention matrices are sums over all pixels, which
takes two passes: the sums, then everything else.

Linear layers that follow each other are composed: the 1x1 and the 3x3 convolution of a base branch
into one 3x3, also with its attention and projection for the values; attention and projection of
the other blocks into one 1x1. Maps are (H, W, channels), images (H, W, 1).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import isqrt
from types import ModuleType
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from cddfuse.history import steady
from cddfuse.models.cddfuse import CDDFuse, TransformerBlock, residual_image
from cddfuse.runtime.cddfuse import torch_layers
from cddfuse.runtime.cddfuse.rolling import Rolling, spare_rows
from cddfuse.runtime.cddfuse.steps import Attention, Layer, Step
from cddfuse.runtime.limits import Progress
from cddfuse.runtime.patches import Patch, patches
from cddfuse.threads import in_flight, parallel_map, worker_count

CHANNELS = 64
# Rows of a patch, which has half as many columns: the widest values of three rows should stay in
# the L2 cache.
SIDE = 128
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def bytes_for(height: int, width: int) -> int:
    """Memory for an image: three maps, rows to spare for one of them, and the images."""
    rows = sum(_rows(patches(height, width, SIDE, SIDE // 2)))
    return 4 * CHANNELS * rows * width + 64 * height * width


def largest_side(memory: int) -> int:
    """Side of the largest square image that so many bytes are enough for."""
    sides = range(isqrt(memory // (3 * 4 * CHANNELS)) + 1)
    return bisect_right(sides, memory, lo=1, key=lambda side: bytes_for(side, side)) - 1


def _rows(cut: Sequence[Patch]) -> list[int]:
    """Rows of the three maps of an image; the last one has spare rows."""
    height = cut[-1].bottom
    return [height, height, height + spare_rows(cut, in_flight(worker_count()))]


class Fast:
    """A CDDFuse, ready to fuse. Any number of threads may use it at a time.

    Args:
        model: the network, with the branches of the release. Its weights are copied: `is_of` tells
            when another `Fast` is due.
        side: of a patch, in pixels: it has so many rows at most, and half as many columns.
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
        self._weights = {name: x.detach().clone() for name, x in model.state_dict().items()}
        form = _form(model.decoder.reduce.weight.device)

        def steps(blocks: Iterable[nn.Module]) -> list[Step]:
            return [step for block in blocks for step in form.steps(block)]

        encoder, decoder = model.encoder, model.decoder
        self._residual = model.residual
        self._embed = form.convolution(encoder.embedding)
        self._blocks = steps(encoder.blocks)
        self._base, self._detail = steps([encoder.base]), steps(encoder.detail)  # type: ignore[arg-type]
        self._fuse_base = steps([model.base_fusion])
        self._fuse_detail = steps(model.detail_fusion)  # type: ignore[arg-type]
        self._merge = form.merge(decoder.reduce)
        self._decode = steps(decoder.blocks)
        narrow, bend, draw = cast(tuple[nn.Conv2d, nn.LeakyReLU, nn.Conv2d], tuple(decoder.output))
        self._narrow = form.convolution(narrow, bend.negative_slope)
        self._draw = form.convolution(draw)

    def is_of(self, model: CDDFuse) -> bool:
        """Whether a network still has the weights and options that this form was made from.

        Weights are compared, as no counter notices all ways to change them; it takes 1 ms.
        """
        state = model.state_dict()
        return (
            self.suits(model)
            and self._residual == model.residual
            and self._weights.keys() == state.keys()
            and all(_equal(x, state[name]) for name, x in self._weights.items())
        )

    @torch.inference_mode()
    def __call__(
        self,
        first: Tensor,
        second: Tensor,
        *,
        given: Sequence[Tensor] | None = None,
        found: list[Tensor] | None = None,
        counted: Sequence[Patch] | None = None,
        maps: list[Tensor] | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Fuse a pair (1, 1, H, W).

        Args:
            first: the first image.
            second: the second image.
            given: the attention matrices to use; those of this pair if None.
            found: receives the attention matrices of this pair.
            counted: where sums for these matrices are taken; everywhere if None.
            maps: keeps the memory of feature maps from one call to the next, which must not be at
                the same time.
            progress: called with the finished share.
        """
        height, width = first.shape[-2:]
        cut = patches(height, width, self._side, self._side // 2)
        run = Run(cut, given, found, counted)
        run.report(progress, self._passes(given is None))
        base, detail, memory = _feature_maps(first, cut, [] if maps is None else maps)
        rolling = Rolling(memory, cut)
        for image, add in ((first, False), (second, True)):
            # Only the sums of both images' features are needed.
            run.each(self._embed, image[0].permute(1, 2, 0).contiguous(), rolling.now())
            run.update(self._blocks, rolling)
            run.together(self._base, rolling.now(), base, add=add)
            run.update(self._detail[:-1], rolling)
            run.each(self._detail[-1], rolling.now(), detail, add=add)
        spare = rolling.now()
        base, spare = run.through(self._fuse_base, base, spare)
        detail, spare = run.through(self._fuse_detail, detail, spare)
        run.everywhere(partial(self._merge, base, detail, spare))
        x, spare = run.through(self._decode, spare, base)
        narrow = spare.view(-1)[: x.numel() // 2].view(height, width, CHANNELS // 2)
        run.each(self._narrow, x, narrow)
        drawn = x.new_empty(height, width, 1)
        run.each(self._draw, narrow, drawn)
        residual = residual_image(self._residual, first, second)
        fused = drawn.permute(2, 0, 1)[None]
        return (fused if residual is None else fused + residual).sigmoid()

    def _passes(self, own: bool) -> int:
        """Number of passes over all patches; two for attention that computes its own matrices."""
        shallow = [self._embed, *self._blocks, self._base[0], *self._detail]
        fusion = [*self._fuse_base, *self._fuse_detail, self._merge]
        steps = [*shallow, *shallow, *fusion, *self._decode, self._narrow, self._draw]
        return len(steps) + own * sum(isinstance(step, Attention) for step in steps)


def _equal(one: Tensor, other: Tensor) -> bool:
    return (one.device, one.dtype) == (other.device, other.dtype) and torch.equal(one, other)


def _feature_maps(image: Tensor, cut: Sequence[Patch], memory: list[Tensor]) -> list[Tensor]:
    """Memory for the three maps of an image, the last one with spare rows.

    Tiles use the same memory: they differ a little in size, and an allocator would not reuse it.
    """
    width = image.shape[-1]
    lengths = [rows * width * CHANNELS for rows in _rows(cut)]
    if not memory or any(len(a) < b for a, b in zip(memory, lengths, strict=True)):
        memory.clear()  # frees the old ones first
        memory += [image.new_empty(length) for length in lengths]
    maps = zip(memory, lengths, strict=True)
    return [room[:length].view(-1, width, CHANNELS) for room, length in maps]


def _form(device: torch.device) -> ModuleType:
    """The module with the layers for a device: `steps`, `convolution` and `merge`."""
    if device.type == "cpu":
        try:
            from cddfuse.runtime.cddfuse import cpu_layers
        except (ImportError, RuntimeError):  # no Numba for a new Python, no place for its files
            return torch_layers
        cpu_layers.prepare()
        return cpu_layers
    return torch_layers


class Run:
    """The state of one pair while it is fused."""

    def __init__(
        self,
        cut: list[Patch],
        given: Sequence[Tensor] | None,
        found: list[Tensor] | None,
        counted: Sequence[Patch] | None,
    ) -> None:
        self._cut = cut
        self._counted = counted or cut
        self._given: Iterator[Tensor] | None = None if given is None else iter(given)
        self._found = found
        self._workers = worker_count()
        self._progress: Progress = lambda share: None
        self._passes, self._done = 1, 0

    def report(self, progress: Progress | None, passes: int) -> None:
        """Call `progress` after each of so many passes over all patches."""
        if progress:
            self._progress, self._passes = progress, passes

    def everywhere(
        self, work: Callable[[Patch], Result], cut: Sequence[Patch] | None = None
    ) -> list[Result]:
        """Apply a function to all patches, or those of another cut, in parallel."""
        results = self._by_workers(work, cut or self._cut)
        self._done += 1
        self._progress(self._done / self._passes)
        return results

    def _by_workers(self, work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
        # Inference mode is a setting of each thread.
        return parallel_map(torch.inference_mode()(work), pieces, self._workers)

    def through(self, layers: Sequence[Step], x: Tensor, spare: Tensor) -> tuple[Tensor, Tensor]:
        """Apply layers to a map, back and forth between its memory and that of another one.

        Returns:
            The map with the result, and the spare one.
        """
        for step in layers:
            self.each(step, x, spare)
            x, spare = spare, x
        return x, spare

    def update(self, layers: Sequence[Step], rolling: Rolling) -> None:
        """Apply layers to a map in place."""
        for step in layers:
            self.each(step, rolling.now(), rolling.other(), rolling.ready())
            rolling.turn()

    def together(self, steps: Sequence[Step], x: Tensor, target: Tensor, *, add: bool) -> None:
        """Fill a map, or add to it, by several layers, of which only the first may be attention.

        Each patch goes through all layers, with the pixels around it that they need, so there are
        no maps between them.
        """
        layers = [self._layer(step, x) for step in steps]

        def work(patch: Patch) -> None:
            around = patch.grown(len(layers), *x.shape[:2])
            part = around.of(x).contiguous()
            for left, layer in zip(range(len(layers))[::-1], layers, strict=True):
                result = torch.empty_like(part)
                layer(part, patch.grown(left, *x.shape[:2]).within(around), result)
                part = result
            place, result = patch.of(target), patch.within(around).of(part)
            place.copy_(place + result if add else result)

        self.everywhere(work)

    def each(
        self,
        step: Step,
        x: Tensor,
        target: Tensor,
        cut: Sequence[Patch] | None = None,
        *,
        add: bool = False,
    ) -> None:
        """Fill a map, or add to it, with the result of a layer."""
        layer = self._layer(step, x)
        self.everywhere(lambda patch: layer(x, patch, target, add=add), cut)

    def _layer(self, step: Step, x: Tensor) -> Layer:
        if not isinstance(step, Attention):
            return step
        # Small, but by a worker: then nothing here depends on the caller's number of threads.
        return self._by_workers(step.values, [self._matrix(step, x)])[0]

    def _matrix(self, layer: Attention, x: Tensor) -> Tensor:
        if self._given is not None:
            return next(self._given)
        parts = self.everywhere(lambda patch: layer.sums(x, patch), self._counted)

        def combine(parts: list[tuple[Tensor, Tensor]]) -> Tensor:
            return layer.matrix(*(torch.stack(x).sum(0) for x in zip(*parts, strict=True)))

        matrix = steady(self._by_workers(combine, [parts])[0])
        if self._found is not None:
            self._found.append(matrix)
        return matrix
