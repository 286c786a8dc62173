"""Channel attention arranged as few and large matrix products, which is several times as fast.

The definition is `ChannelAttention.definition` in `models/cddfuse.py`; results and gradients are
the same up to rounding. Two observations make the difference. Without biases, the 1x1 and the full
3x3 convolution of the dense form are one 3x3 convolution. And attention is one small matrix per
image: with the projection multiplied in, it maps the value of a pixel to the output of that pixel.
"""

import torch
from torch import Tensor

from cddfuse.filters import full
from cddfuse.history import steady


def composed_kernel(expand: Tensor, mix: Tensor) -> Tensor:
    """One 3x3 kernel for a 1x1 convolution followed by a full 3x3 convolution.

    Args:
        expand: the 1x1 kernel, (M, I, 1, 1).
        mix: the 3x3 kernel, (O, M, 3, 3).

    Returns:
        (O, I, 3, 3).
    """
    return torch.einsum("omhw,mi->oihw", mix, expand[:, :, 0, 0])


def channel_attention(mixed: Tensor, temperature: Tensor, projection: Tensor) -> Tensor:
    """Attention between channels, and the projection after it.

    Args:
        mixed: queries, keys and values of every pixel, (B, 3C, H, W).
        temperature: of every head, (heads, 1, 1).
        projection: (C, C).

    Returns:
        (B, C, H, W).
    """
    pixels = mixed.permute(0, 2, 3, 1)
    query, key, value = pixels.flatten(1, 2).chunk(3, dim=2)  # (B, H * W, C) each
    # Normalising the C x C products of all pixels equals normalising every pixel's query and key,
    # and products between heads are cheaper to compute than to leave out.
    queries, keys = (torch.linalg.vector_norm(full(x), dim=1) for x in (query, key))
    products = query.transpose(1, 2) @ key
    matrix = steady(attention_projection(products, queries, keys, temperature, projection))
    fused = value @ matrix.transpose(1, 2)
    return fused.unflatten(1, mixed.shape[2:]).permute(0, 3, 1, 2)


def attention_projection(
    products: Tensor, queries: Tensor, keys: Tensor, temperature: Tensor, projection: Tensor
) -> Tensor:
    """Attention and projection as one matrix per image, from sums over its pixels.

    Args:
        products: of each query channel with each key channel, (B, C, C).
        queries: Euclidean length of each query channel, (B, C).
        keys: likewise.
        temperature: of every head, (heads, 1, 1).
        projection: (C, C).

    Returns:
        (B, C, C), which maps the value of a pixel to its output.
    """
    heads = len(temperature)
    queries, keys = queries.clamp(min=1e-12), keys.clamp(min=1e-12)
    cosine = products / (queries[:, :, None] * keys[:, None, :])
    by_head = cosine.unflatten(2, (heads, -1)).unflatten(1, (heads, -1))
    cosine = by_head.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # (B, heads, C / heads, same)
    attention = (temperature * cosine).softmax(dim=-1)
    projection = projection.unflatten(1, (heads, -1))
    return torch.einsum("ohi,bhij->bohj", projection, attention).flatten(2)
