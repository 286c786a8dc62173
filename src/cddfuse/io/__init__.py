"""Files to image pairs and back."""

from cddfuse.io.decode import SUFFIXES, bit_depth, image_size, prepare_process
from cddfuse.io.encode import output_format
from cddfuse.io.files import expanded, replacing, replacing_folder
from cddfuse.io.folders import PairedPaths, Pairing, match_folder, match_folders, pair_folders
from cddfuse.io.images import ImageSource, load_pair, read_image, read_pair, write_image
from cddfuse.io.listing import Skipped
from cddfuse.io.metadata import Metadata
from cddfuse.io.names import swapped
from cddfuse.io.ranges import Range, Ranges, resolve
from cddfuse.io.sheet import contact_sheet

__all__ = [
    "SUFFIXES",
    "ImageSource",
    "Metadata",
    "PairedPaths",
    "Pairing",
    "Range",
    "Ranges",
    "Skipped",
    "bit_depth",
    "contact_sheet",
    "expanded",
    "image_size",
    "load_pair",
    "match_folder",
    "match_folders",
    "output_format",
    "pair_folders",
    "prepare_process",
    "read_image",
    "read_pair",
    "replacing",
    "replacing_folder",
    "resolve",
    "swapped",
    "write_image",
]
