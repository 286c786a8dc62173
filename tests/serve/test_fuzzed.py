"""A share of the mutated files of `tests/serve_fuzzing.py`."""

import httpx
from serve_fuzzing import campaign


def test_mutated_files_are_answered(client: httpx.Client) -> None:
    found = campaign(client, 300, seed=0)
    assert found.faults == []
    assert found.statuses[200] > 20
    assert found.statuses[415] > 100
    assert found.grown < 60e6
