"""The program that serves an application."""

import socket

import uvicorn
from fastapi import FastAPI

from cddfuse.errors import InputError

_CONNECTIONS = 256
_LAST_SECONDS = 10  # for requests that are worked on when the program is to end


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until the program is interrupted or terminated."""
    uvicorn.Server(configuration(app, host, port)).run()


def configuration(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """How an application is served. The log of requests is that of `guard`, without queries."""
    return uvicorn.Config(
        app,
        host,
        port,
        http="h11",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_LAST_SECONDS,
    )


def require_free(host: str, port: int) -> None:
    """Refuse an address that cannot be had, before networks are loaded."""
    if not 1 <= port <= 65535:
        raise InputError(f"there is no port {port}: use 1024 to 65535.", setting="port")
    try:
        kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind[0], kind[1]) as place:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind(kind[4])
    except OSError as error:
        reason = error.strerror or error
        text = f"cannot serve at {host}:{port} ({reason}): choose another host or port."
        raise InputError(text, setting=("host", "port")) from error
