"""Medical volumes: NIfTI files and DICOM series. Research use, not for diagnosis."""
