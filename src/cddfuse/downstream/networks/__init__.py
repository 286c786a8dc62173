"""The instruments of this package: one detector, two segmenters, in pure PyTorch."""

from collections.abc import Callable, Mapping

from torch import nn

from cddfuse.downstream.networks.backbone import Backbone
from cddfuse.downstream.networks.centernet import CenterNet
from cddfuse.downstream.networks.deeplabv3plus import DeepLabV3Plus
from cddfuse.downstream.networks.unet import UNet

NETWORKS: Mapping[str, Callable[[Backbone, int], nn.Module]] = {
    "centernet": CenterNet,
    "deeplabv3plus": DeepLabV3Plus,
    "unet": UNet,
}
"""From backbone and number of classes to the network."""

__all__ = ["NETWORKS", "Backbone", "CenterNet", "DeepLabV3Plus", "UNet"]
