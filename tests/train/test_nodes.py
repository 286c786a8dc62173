"""Training on several machines: how many take part."""

import pytest

from cddfuse.train import Running


@pytest.mark.parametrize(
    ("variables", "machines"),
    [
        ({}, 3),
        ({"GROUP_WORLD_SIZE": "2"}, 3),  # of another program
        ({"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a"}, 2),
    ],
)
def test_machines_are_those_that_take_part(
    variables: dict[str, str], machines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GROUP_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Running(nodes=3).machines == machines
