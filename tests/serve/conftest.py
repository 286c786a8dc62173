"""A service that the tests of a run share."""

from collections.abc import Iterator

import httpx
import pytest
from serving import Slow, served

from cddfuse.serve.networks import Networks


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with served() as found:
        yield found


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> tuple[Slow, Networks]:
    model = Slow()
    networks = Networks(["mean"])
    monkeypatch.setattr("cddfuse.serve.networks.load_network", lambda *a, **k: model)
    networks.get("")
    networks.ready = True
    return model, networks
