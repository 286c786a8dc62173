"""Multi-modality image fusion: CDDFuse and the tools around it."""

from cddfuse.errors import InputError
from cddfuse.fuse import fuse
from cddfuse.io import read_image, read_pair, write_image
from cddfuse.models import create_model
from cddfuse.pair import ImagePair

__version__ = "0.1.0.dev0"

__all__ = [
    "ImagePair",
    "InputError",
    "__version__",
    "create_model",
    "fuse",
    "read_image",
    "read_pair",
    "write_image",
]
