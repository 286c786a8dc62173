"""Sufficient statistics of earlier crops, from which a tone goes on learning."""

import torch
from torch import Tensor, nn

from cddfuse.filters import full, unmixed
from cddfuse.models.cddfuse_small import Tone

_LEAST = 1e-7  # mean square; 16 bits are no nearer


class Memory(nn.Module):
    """For each crop, the statistics that decide on its tone and the error of every possible tone.

    A tone is a sum of 15 polynomials, so its mean squared error is a quadratic form of their
    coefficients, which 241 numbers describe. With the 50 statistics that decide, they replace the
    crop: learning from hundreds of crops at once costs next to nothing.

    Args:
        tone: of the network that learns.
        crops: capacity; a new crop replaces the oldest. With several processes, only the crops of
            the first are kept.
    """

    def __init__(self, tone: Tone, crops: int) -> None:
        super().__init__()
        polynomials = tone.polynomials
        self.register_buffer("seen", torch.zeros(crops, tone.statistics))
        self.register_buffer("square", torch.zeros(crops, polynomials, polynomials))
        self.register_buffer("linear", torch.zeros(crops, polynomials))
        self.register_buffer("constant", torch.zeros(crops))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.seen: Tensor
        self.square: Tensor
        self.linear: Tensor
        self.constant: Tensor
        self.count: Tensor

    @torch.no_grad()
    def keep(self, tone: Tone, first: Tensor, second: Tensor, wanted: Tensor) -> None:
        """Remember a batch, images (B, 1, H, W), and what the teacher makes of it."""
        with unmixed(first):
            first, second, wanted = full(first), full(second), full(wanted)
            means, polynomials = tone.parts(first, second)
            left = (wanted.flatten(1) - means)[..., None]
            pixels = left.shape[1]
            places = torch.arange(len(first), device=first.device) + self.count
            places = places % len(self.seen)
            self.seen[places] = tone.seen(first, second)
            self.square[places] = polynomials @ polynomials.transpose(1, 2) / pixels
            self.linear[places] = (polynomials @ left).squeeze(2) / pixels
            self.constant[places] = left.square().mean((1, 2))
            self.count += len(first)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # random draws
    def error(self, tone: Tone, crops: int, noise: float = 0.0) -> Tensor:
        """Root mean squared error of the tone, averaged over random crops: a scalar.

        Args:
            tone: of the network that learns.
            crops: how many are drawn. The seed is the number of crops kept so far, so a resumed
                run draws the same.
            noise: standard deviation of what is added to the statistics.
        """
        count = int(self.count)
        chance = torch.Generator().manual_seed(count)
        drawn = torch.randint(min(count, len(self.seen)), (crops,), generator=chance)
        off = noise * torch.randn(crops, tone.statistics, generator=chance)
        device = self.seen.device
        with unmixed(self.seen):
            drawn = drawn.to(device)
            decided = tone.decide(self.seen[drawn] + off.to(device))
            return self.squares(decided, drawn).sqrt().mean()

    def squares(self, decided: Tensor, crops: Tensor) -> Tensor:
        """Mean squared errors (B,) of the coefficients (B, 15) decided on for crops (B,)."""
        square = torch.einsum("bi,bij,bj->b", decided, self.square[crops], decided)
        linear = (decided * self.linear[crops]).sum(1)
        return (square - 2 * linear + self.constant[crops]).clamp_min(_LEAST)
