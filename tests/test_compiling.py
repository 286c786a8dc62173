"""Users hear why nothing seems to happen for half a minute."""

import pytest

numba = pytest.importorskip("numba")


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
        "compiling for this processor, the first time only: half a minute or more"
    ]
