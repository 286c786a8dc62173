"""The page and the API of `cddfuse serve`, and the page that runs without a server."""

from typing import TYPE_CHECKING

from cddfuse.models.exported import package
from cddfuse.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from cddfuse.serve.networks import Networks

__all__ = ["Settings", "create_app", "require_extra"]


def require_extra() -> None:
    """Refuse to serve without the packages of the extra `serve`."""
    for name in ("fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        package(name, "serve")


def create_app(settings: Settings | None = None, networks: "Networks | None" = None) -> "FastAPI":
    """The application, for any ASGI server with one worker process.

    Args:
        settings: limits, and what is offered.
        networks: those of the settings, if they are made already.
    """
    require_extra()
    from cddfuse.serve.app import application
    from cddfuse.serve.networks import Networks

    settings = settings or Settings()
    return application(settings, networks or Networks(settings.networks, settings.device))
