"""What tests of exported files share."""

import torch

from cddfuse import ImagePair
from cddfuse.models import create_model
from cddfuse.models.cddfuse import CDDFuse


def shallow(**options: str) -> CDDFuse:
    """A CDDFuse with random weights and one block where there are several: quick to export."""
    torch.manual_seed(0)
    model = create_model("cddfuse", **options)
    assert isinstance(model, CDDFuse)
    for part in (model.encoder, model.decoder):
        part.blocks = torch.nn.Sequential(part.blocks[0])
    if isinstance(model.encoder.detail, torch.nn.Sequential):
        model.encoder.detail = torch.nn.Sequential(model.encoder.detail[0])
    for name, weight in model.named_parameters():
        if "norm" in name or "temperature" in name:
            torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model


def pair(height: int, width: int) -> ImagePair:
    """Noise."""
    random = torch.Generator().manual_seed(3)
    first, second = torch.rand(2, 1, height, width, generator=random).unbind()
    return ImagePair(first, second)
