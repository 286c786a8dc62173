"""What a tone can still learn of crops that are gone."""

import torch
from torch import Tensor, nn

from cddfuse.filters import full, unmixed
from cddfuse.models.cddfuse_small import Tone

_LEAST = 1e-7  # mean square; 16 bits are no nearer


class Memory(nn.Module):
    """Of each crop, what decides on its tone, and how near each tone would come to the teacher.

    A tone is a sum of polynomials, so the mean square of its difference to the teacher's image is a
    quadratic form of how much there is of each. Kept are its 241 numbers and the 50 that decide: a
    tone can learn from hundreds of crops at once in the time of none.

    Args:
        tone: of the network that learns.
        crops: how many are remembered; a new one replaces the oldest. With several processes they
            are those of the first.
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

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # chance is not compiled
    def error(self, tone: Tone, crops: int, noise: float = 0.0) -> Tensor:
        """Root mean square of the tone's difference, the mean of so many crops: a scalar.

        Crops are drawn at random, with `noise` on what decides. That depends on how many were kept
        before, so a resumed run draws the same.
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
        """Mean squares (B,) of the difference for what was decided (B, 15) on crops (B,)."""
        square = torch.einsum("bi,bij,bj->b", decided, self.square[crops], decided)
        linear = (decided * self.linear[crops]).sum(1)
        return (square - 2 * linear + self.constant[crops]).clamp_min(_LEAST)
