"""Files to image pairs and back."""

from cddfuse.io.decode import SUFFIXES, bit_depth
from cddfuse.io.files import expanded, replacing
from cddfuse.io.folders import PairedPaths, Pairing, match_folder, match_folders, pair_folders
from cddfuse.io.images import ImageSource, output_format, read_image, read_pair, write_image
from cddfuse.io.listing import Skipped
from cddfuse.io.names import swapped
from cddfuse.io.sheet import contact_sheet

__all__ = [
    "SUFFIXES",
    "ImageSource",
    "PairedPaths",
    "Pairing",
    "Skipped",
    "bit_depth",
    "contact_sheet",
    "expanded",
    "match_folder",
    "match_folders",
    "output_format",
    "pair_folders",
    "read_image",
    "read_pair",
    "replacing",
    "swapped",
    "write_image",
]
