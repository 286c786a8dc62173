"""Flags of parts of `fuse`, one file per part."""
