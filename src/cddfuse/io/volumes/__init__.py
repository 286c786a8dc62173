"""Medical volumes: NIfTI files and DICOM series. Research use, not for diagnosis."""

from cddfuse.io.volumes.dicom import holds_dicom
from cddfuse.io.volumes.options import VolumeReading, VolumeWriting
from cddfuse.io.volumes.pair import VolumePair, open_volumes
from cddfuse.io.volumes.results import open_results

__all__ = [
    "VolumePair",
    "VolumeReading",
    "VolumeWriting",
    "holds_dicom",
    "open_results",
    "open_volumes",
]
