"""How a network is run over an image: in which form, at which precision, whole or in tiles."""

from cddfuse.runtime.limits import Limits
from cddfuse.runtime.process import prepare_process
from cddfuse.runtime.run import run

__all__ = ["Limits", "prepare_process", "run"]
