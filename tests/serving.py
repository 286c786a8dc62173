"""A service on a free port of this machine, with networks that cost nothing."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import torch
import uvicorn
from torch import Tensor

from cddfuse.models import Card, FusionModel
from cddfuse.serve import Settings, create_app
from cddfuse.serve.networks import Networks
from cddfuse.serve.running import configuration

SETTINGS = {
    "networks": ("mean", "max", "laplacian"),
    "max_megabytes": 1.0,
    "max_megapixels": 0.25,
    "waiting": 3,
    "upload_seconds": 2.0,
}


@contextmanager
def served(made: Networks | None = None, **changes: object) -> Iterator[httpx.Client]:
    """A client of a service that runs in a thread."""
    settings = Settings(**(SETTINGS | changes))  # type: ignore[arg-type]
    port = _free_port()
    server = uvicorn.Server(configuration(create_app(settings, made), "127.0.0.1", port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        _wait(client)
        yield client
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _wait(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    pytest.fail("the service does not become ready")


class Slow(FusionModel):
    """A network of many steps, which counts them."""

    card = Card(name="slow", paper="", bytes_per_pixel=1)

    def __init__(self) -> None:
        super().__init__()
        self.step = torch.nn.Identity()
        self.steps = self.runs = 0
        self.go = threading.Event()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        self.runs += 1
        while not self.go.is_set():
            self.steps += 1
            first = self.step(first)
            time.sleep(0.01)
        return first


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it does not happen")
