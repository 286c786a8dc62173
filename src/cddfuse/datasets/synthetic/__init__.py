"""Made-up scenes with labels, for demonstrations, tests and whoever has no data at hand."""

from cddfuse.datasets.synthetic.night import night_street
from cddfuse.datasets.synthetic.scene import CLASSES, LABELS, Object, Scene

__all__ = ["CLASSES", "LABELS", "Object", "Scene", "night_street"]
