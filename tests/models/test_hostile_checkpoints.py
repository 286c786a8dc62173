"""Checkpoints that want to run code: all are refused, and none does."""

import io
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cddfuse.errors import InputError
from cddfuse.models import MODELS, load_weights
from cddfuse.models.weights import load_converted


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, module: str, name: str, *arguments: object) -> None:
        self.target = module, name
        self.arguments = arguments


class Pickler(pickle._Pickler):  # in Python, so that names need not exist here
    """Writes calls by the names of their functions."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(obj, Call):
            super().save(obj, save_persistent_id)  # type: ignore[misc]
            return
        module, name = obj.target
        self.write(b"c" + f"{module}\n{name}\n".encode())  # type: ignore[attr-defined]
        super().save(obj.arguments)  # type: ignore[misc]
        self.write(b"R")  # type: ignore[attr-defined]


CALLS = [
    *[("os", name) for name in ("system", "popen", "execl", "remove", "rename", "_wrap_close")],
    *[("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("subprocess", "run")],
    *[("builtins", name) for name in ("eval", "exec", "compile", "getattr", "__import__", "open")],
    *[("importlib", "import_module"), ("runpy", "run_path"), ("runpy", "_run_code")],
    *[("pickle", "loads"), ("_pickle", "loads"), ("marshal", "loads"), ("types", "FunctionType")],
    *[("code", "interact"), ("pty", "spawn"), ("timeit", "timeit"), ("cProfile", "run")],
    *[("webbrowser", "open"), ("urllib.request", "urlopen"), ("socket", "create_connection")],
    *[("shutil", "rmtree"), ("pathlib", "Path"), ("ctypes", "CDLL"), ("functools", "partial")],
    *[("operator", "attrgetter"), ("operator", "methodcaller"), ("asyncio", "run")],
    *[("numpy", "load"), ("numpy.f2py.crackfortran", "getlincoef"), ("numpy.testing", "rundocs")],
    *[
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.jit", "load"),
        ("torch.ops", "load_library"),
    ],
    *[("torch.serialization", "load"), ("torch.utils.data", "DataLoader")],
    *[("torch._inductor.codecache", "compile_file"), ("torch.nn.modules.linear", "Linear")],
    *[("cddfuse.models.weights", "load_weights"), ("cddfuse.io.files", "replacing")],
]
"""Functions that hostile pickles are known to call, and some of this package and PyTorch."""


def hostile(call: Call, layout: str) -> bytes:
    stream = io.BytesIO()
    content = {"state_dict": {"weight": torch.zeros(2)}, "extra": call}
    if layout == "bare":
        Pickler(stream, 2).dump({"extra": call})
        return stream.getvalue()
    module = type(sys)("hostile")
    module.Pickler, module.dump = Pickler, pickle.dump  # type: ignore[attr-defined]
    module.dumps, module.Unpickler, module.load = pickle.dumps, pickle.Unpickler, pickle.load  # type: ignore[attr-defined]
    torch.save(content, stream, module, 2, layout == "zip")
    return stream.getvalue()


@pytest.mark.parametrize("layout", ["zip", "old", "bare"])
def test_functions_are_not_called(layout: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for module, name in CALLS:
        path = tmp_path / f"a{'.safetensors' if layout == 'bare' else '.pth'}"
        path.write_bytes(hostile(Call(module, name, f"touch {made}"), layout))
        for load in (lambda p: load_weights(MODELS["reconet"], p), _converted):
            with pytest.raises(InputError, match="is refused: it is damaged, or wants to run code"):
                load(path)
    assert not made.exists()


def test_they_would_be_called_otherwise(tmp_path: Path) -> None:
    """The files above are not refused for being malformed."""
    made = tmp_path / "made"
    for layout in ("zip", "old", "bare"):
        data = hostile(Call("os", "system", f"touch {made}"), layout)
        if layout == "bare":
            pickle.loads(data)
        else:
            torch.load(io.BytesIO(data), weights_only=False)
        assert made.exists(), layout
        os.remove(made)


def _converted(path: Path) -> object:
    return load_converted(MODELS["reconet"], [path], {})
