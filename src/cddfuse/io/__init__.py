"""Files to image pairs and back."""

from cddfuse.io.decode import SUFFIXES, bit_depth
from cddfuse.io.files import replacing
from cddfuse.io.folders import PairedPaths, Pairing, match_folder, match_folders, pair_folders
from cddfuse.io.images import ImageSource, output_format, read_image, read_pair, write_image
from cddfuse.io.sheet import contact_sheet

__all__ = [
    "SUFFIXES",
    "ImageSource",
    "PairedPaths",
    "Pairing",
    "bit_depth",
    "contact_sheet",
    "match_folder",
    "match_folders",
    "output_format",
    "pair_folders",
    "read_image",
    "read_pair",
    "replacing",
    "write_image",
]
