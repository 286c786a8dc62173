"""Learned blocks that two or more networks use."""

from cddfuse.layers.convolutions import DenseBlock, UnitTanh, conv, convolutions, leaky

__all__ = ["DenseBlock", "UnitTanh", "conv", "convolutions", "leaky"]
