"""The half blocks of CDDFuse compiled by `torch.compile`, for images of any size.

Each function is compiled once for all blocks of its kind and for any height and width, and again
where a batch has one image, as PyTorch does with sizes of one. What is compiled is kept on disk,
where `prepare_process` says, for the same PyTorch, compiler and device; tracing takes a few seconds
in every process.
"""

from collections.abc import Callable
from functools import cache, wraps
from types import FunctionType
from typing import Any, TypeVar

import torch
from torch._dynamo.config import patch
from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

from cddfuse.errors import InputError
from cddfuse.runtime.cddfuse.whole import EAGER, HalfBlocks

Result = TypeVar("Result")
_VARIANTS = 64  # of a function, for two kinds of blocks, batches, and every number of threads


@cache
def compiled(dtype: torch.dtype) -> HalfBlocks:
    """The kernels of this process for a precision; compilation starts when they are first called.

    Sums and the products of attention are single operations, with nothing to gain.
    """
    names = "queries_keys_values", "feed_forward", "couple"
    own = {name: _copied(getattr(EAGER, name), dtype) for name in names}
    return EAGER._replace(**{name: when_called(function) for name, function in own.items()})


def when_called(
    function: Callable[..., Result], backend: str | Callable[..., Any] = "inductor"
) -> Callable[..., Result]:
    """A function that is compiled at its first call, as one graph.

    Raises:
        InputError: when it is called and compilation fails, for a compiler that does not work.
    """
    work = torch.compile(function, dynamic=True, fullgraph=True, backend=backend)

    @wraps(function)
    def call(*arguments: Any) -> Result:
        try:
            with patch(recompile_limit=_VARIANTS):
                return work(*arguments)
        except (TorchDynamoException, FailOnRecompileLimitHit) as error:
            reason = " ".join(str(error).splitlines()[:2]) or type(error).__name__
            text = f"torch.compile failed on this machine ({reason}): leave the kernels out."
            raise InputError(text, setting="kernels") from error

    return call


def _copied(function: FunctionType, dtype: torch.dtype) -> FunctionType:
    """The same with code of its own: PyTorch limits how often one is compiled."""
    name = f"{function.__name__}_{dtype}".replace("torch.", "")
    return FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)
