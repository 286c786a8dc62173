"""Users hear why nothing seems to happen, and further processes take a share of the work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

numba = pytest.importorskip("numba")

MODULE = "cddfuse.runtime.cddfuse.kernels"
COMPILE_TWO = f"""
import sys, time
from importlib import import_module
from types import SimpleNamespace
import cddfuse.compiling as compiling
wait_for = compiling._Helper.wait_for
def wait(helper, name):  # until it is at the last function: this process is at the first one
    while helper._at != "convolution" and helper._listener.is_alive():
        time.sleep(0.01)
    wait_for(helper, name)
compiling._Helper.wait_for = wait
kernels = import_module("{MODULE}")
few = {{name: kernels.SIGNATURES[name] for name in ("merge", "convolution")}}
functions = {{name: getattr(kernels, name) for name in few}}
module = SimpleNamespace(__name__="{MODULE}", SIGNATURES=few, **functions)
compiling.compile_all(module, int(sys.argv[1]))
print(*(sum(getattr(kernels, name).stats.cache_misses.values()) for name in few))
"""


def test_the_first_function_that_is_compiled_is_announced_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from numba.core import event

    from cddfuse.compiling import _Notice

    numba.njit(lambda x: x)(1)  # a listener of other tests in this process has its say
    caplog.clear()
    one, two = (numba.njit(lambda x, step=step: x + step) for step in (1, 2))
    with event.install_listener("numba:compile", _Notice()):
        assert [one(1), two(1), one(2)] == [2, 3, 3]
    assert [record.message for record in caplog.records] == [
        "compiling for this processor, the first time only: ten seconds or more"
    ]


def test_another_process_compiles_the_last_functions(tmp_path: Path) -> None:
    def missed(workers: int) -> str:
        command = [sys.executable, "-c", COMPILE_TWO, str(workers)]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        return subprocess.check_output(command, env=environment, text=True).strip()

    assert missed(workers=2) == "1 0"
    assert missed(workers=2) == "0 0"  # from the cache, for good


def test_a_helper_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from cddfuse import compiling

    module: object = SimpleNamespace(
        __name__="no.such.module",
        SIGNATURES={"one": (numba.int64,), "two": (numba.int64,)},
        one=numba.njit(lambda x: x + 1),
        two=numba.njit(lambda x: x + 2),
    )
    monkeypatch.setattr(compiling, "_PATIENCE", 5)
    compiling.compile_all(module, 2)  # type: ignore[arg-type]
    assert module.one.signatures == module.two.signatures == [(numba.int64,)]  # type: ignore[attr-defined]
