"""Compile functions in a process of their own, so that others find them in the cache on disk.

`python compile_apart.py MODULE FUNCTION...` prints the name of each function when it begins with
it. Run as a file: of the package, it imports only that module, for the package imports PyTorch,
which takes longer than a function.
"""

import sys
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from types import ModuleType


def main(module: str, *names: str) -> None:
    """Compile functions of a module that has `SIGNATURES`."""
    here = Path(__file__).parent
    sys.path[:] = [place for place in sys.path if Path(place) != here]  # its `io` is another one
    *packages, _ = module.split(".")
    for name in accumulate(packages, "{}.{}".format):
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(here.parent.joinpath(*name.split(".")))]
    kernels = import_module(module)
    for name in names:
        print(name, flush=True)
        getattr(kernels, name).compile(kernels.SIGNATURES[name])


if __name__ == "__main__":
    main(*sys.argv[1:])
