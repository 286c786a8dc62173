"""A share of the mutated files of `tests/serve_fuzzing.py`."""

import httpx
import pytest
from serve_fuzzing import asking_for_clips, campaign


def test_mutated_files_are_answered(client: httpx.Client) -> None:
    found = campaign(client, 300, seed=0)
    assert found.faults == []
    assert found.statuses[200] > 20
    assert found.statuses[415] > 100
    assert found.grown < 60e6


def test_mutated_clips_are_answered(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from clip_bytes import decoded_here

    monkeypatch.setattr("cddfuse.io.video.sealed_stream._messages", decoded_here)
    found = campaign(client, 80, 0, asking_for_clips())
    assert found.faults == []
    assert found.statuses[200] > 10
    assert found.statuses[415] > 30
