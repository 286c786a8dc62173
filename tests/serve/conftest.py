"""A service that the tests of a run share."""

from collections.abc import Iterator

import httpx
import pytest
from serving import served


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with served() as found:
        yield found
