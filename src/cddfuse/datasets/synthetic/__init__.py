"""Synthetic scenes with labels, for demonstrations, tests and first steps without data."""

from cddfuse.datasets.synthetic.night import night_street
from cddfuse.datasets.synthetic.scene import CLASSES, LABELS, Object, Scene

__all__ = ["CLASSES", "LABELS", "Object", "Scene", "night_street"]
