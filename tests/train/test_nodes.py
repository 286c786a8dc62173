"""Training on several machines: how many take part, and whether workers can be replaced."""

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


@pytest.mark.parametrize(
    ("restarts", "shares", "noted"),
    [("3", "True", True), ("3", "False", False), ("0", "True", False), (None, None, False)],
)
def test_restarts_that_may_fail_are_noted(
    restarts: str | None, shares: str | None, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"TORCHELASTIC_MAX_RESTARTS": restarts, "TORCHELASTIC_USE_AGENT_STORE": shares}
    for name, value in given.items():
        monkeypatch.delenv(name, raising=False)
        if value:
            monkeypatch.setenv(name, value)
    assert ("TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in Running().note) == noted
