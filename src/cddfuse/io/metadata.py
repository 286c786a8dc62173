"""What an image file says beside its pixels."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metadata:
    """Facts of the sources that a result may carry."""

    bits: Literal[8, 16] = 8
    """Per channel of the deeper source."""
