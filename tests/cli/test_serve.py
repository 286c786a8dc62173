"""The verb `serve`, up to where it would serve."""

import socket

import pytest

from cddfuse.cli import run

pytest.importorskip("fastapi")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--models", "nothing"], "no network nothing"),
        (["--models", "cddfuse=nowhere.safetensors"], "nowhere.safetensors"),
        (["--max-megapixels", "0"], "--max-megapixels"),
        (["--waiting", "-1"], "--waiting"),
        (["--port", "70000"], "--port"),
        (["--port", "0"], "--port"),
        (["--max-megabytes", "inf"], "--max-megabytes"),
        (["--seconds", "inf"], "--seconds"),
        (["--models", "mean", "cddfuse=nowhere.safetensors"], "--models"),
        (["--static", "page", "--models", "mean"], "--models"),
        (["--static", "page", "--jobs", "2"], "--jobs"),
        (["--host", "no.such.host.invalid"], "--port"),
        (["--overwrite"], "--static"),
    ],
)
def test_what_cannot_be_served_is_said(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert "Traceback" not in found.err


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        port = place.getsockname()[1]
        assert run(["serve", "--models", "mean", "--port", str(port)]) == 2
    assert f"127.0.0.1:{port}" in capsys.readouterr().err


def test_names_that_are_allowed() -> None:
    from cddfuse.cli.flags.serving import ServingFlags

    flags = ServingFlags(allow_host=("Fuse.Example.org",))
    assert "fuse.example.org" in flags.settings((), "cpu", "127.0.0.1").hosts
    assert flags.settings((), "cpu", "10.0.0.1").hosts[-2:] == ("10.0.0.1", "fuse.example.org")
    others = ServingFlags(allow_host=("2001:DB8::2", "a.example:8443"))
    hosts = others.settings((), "cpu", "2001:db8::1").hosts
    assert hosts[-3:] == ("[2001:db8::1]", "[2001:db8::2]", "a.example")
    assert ServingFlags(allow_host=("*",)).settings((), "cpu", "0.0.0.0").hosts == ()


def test_an_app_serves_until_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.Logger.setLevel", lambda *level: None)  # it holds for the process
    served = []
    monkeypatch.setattr("cddfuse.serve.running.run", lambda app, *where: served.append(where))
    monkeypatch.setattr("cddfuse.serve.running.require_free", lambda *where: None)
    assert run(["serve", "--models", "mean", "--port", "8123", "--quiet"]) == 0
    assert served == [("127.0.0.1", 8123)]
