"""Multi-modality image fusion: CDDFuse and the tools around it."""

__version__ = "0.1.0.dev0"
