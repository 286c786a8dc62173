"""The instruments of this package: one detector, three segmenters, in pure PyTorch."""

from collections.abc import Callable, Mapping

from torch import nn

from cddfuse.downstream.networks.backbone import Backbone
from cddfuse.downstream.networks.centernet import CenterNet
from cddfuse.downstream.networks.deeplabv3plus import DeepLabV3Plus
from cddfuse.downstream.networks.segformer import SegFormer
from cddfuse.downstream.networks.unet import UNet

NETWORKS: Mapping[str, Callable[[Backbone, int], nn.Module]] = {
    "centernet": CenterNet,
    "deeplabv3plus": DeepLabV3Plus,
    "unet": UNet,
}
"""From backbone and number of classes to the network."""

WHOLE: Mapping[str, Callable[[int, int], nn.Module]] = {"segformer": SegFormer}
"""Networks without a backbone: from the numbers of channels and classes."""

__all__ = ["NETWORKS", "WHOLE", "Backbone", "CenterNet", "DeepLabV3Plus", "SegFormer", "UNet"]
