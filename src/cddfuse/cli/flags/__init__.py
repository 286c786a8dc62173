"""Groups of flags, one file for each part of the package."""
