"""Load on `cddfuse serve` over loopback: `python -m benchmarks.serve --minutes 30 [--json FILE]`.

The service runs in a process of its own. So many clients send pairs one after another, and
repeat what is refused with 503 when it says. Latency is that of answered requests, from the first
byte sent to the last received; memory is that of the service.
"""

import argparse
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image


@dataclass
class Load:
    """What was measured; appended to by several threads."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    memory: list[tuple[float, float, int]] = field(default_factory=list)
    """Seconds from the start, MB, open files."""


def pair(height: int, width: int) -> dict[str, bytes]:
    """Two smooth images with noise, as PNG."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0)
    files = {}
    for name, slope in (("first", x / width), ("second", y / height)):
        levels = 255 * slope * 0.9 + noise.normal(0, 4, (height, width))
        stream = BytesIO()
        Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
        files[name] = stream.getvalue()
    return files


def ask(address: str, files: dict[str, bytes], until: float, load: Load) -> None:
    """One client."""
    with httpx.Client(base_url=address, timeout=300) as client:
        while time.monotonic() < until:
            started = time.monotonic()
            try:
                answer = client.post("/v1/fuse", files=files)
            except httpx.TransportError as error:
                load.failed.append(f"no answer: {error}")
                continue
            if answer.status_code == 200:
                load.seconds.append(time.monotonic() - started)
            elif answer.status_code == 503:
                load.refused += 1
                time.sleep(float(answer.headers["retry-after"]))
            else:
                load.failed.append(f"{answer.status_code} {answer.text[:100]}")


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the service is ready."""
    while process.poll() is None:
        try:
            if httpx.get(f"{address}/readyz", timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"the service ended with {process.returncode}")


def measure(address: str, process: subprocess.Popen[bytes], arguments: argparse.Namespace) -> Load:
    """Load the service for the time that was asked for."""
    wait(address, process)
    load, files = Load(), pair(arguments.height, arguments.width)
    started = time.monotonic()
    until = started + 60 * arguments.minutes
    threads = [
        threading.Thread(target=ask, args=(address, files, until, load))
        for _ in range(arguments.clients)
    ]
    for thread in threads:
        thread.start()
    watched = psutil.Process(process.pid)
    while any(thread.is_alive() for thread in threads):
        megabytes = watched.memory_info().rss / 1e6
        load.memory.append((time.monotonic() - started, megabytes, watched.num_fds()))
        time.sleep(1)
    return load


def summary(load: Load, minutes: float) -> dict[str, float | int]:
    """The figures."""
    cuts = statistics.quantiles(load.seconds, n=100) if len(load.seconds) > 1 else [0.0] * 99
    tenth = max(1, len(load.memory) // 10)
    return {
        "answered": len(load.seconds),
        "refused": load.refused,
        "failed": len(load.failed),
        "per_second": round(len(load.seconds) / (60 * minutes), 3),
        "p50_s": round(cuts[49], 3),
        "p95_s": round(cuts[94], 3),
        "memory_mb_first_tenth": round(statistics.median(x[1] for x in load.memory[:tenth])),
        "memory_mb_last_tenth": round(statistics.median(x[1] for x in load.memory[-tenth:])),
        "files_most": max(x[2] for x in load.memory),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--model", default="cddfuse")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    port = free_port()
    command = [sys.executable, "-m", "cddfuse", "serve", "--port", str(port), "--quiet"]
    process = subprocess.Popen([*command, "--models", arguments.model])
    try:
        load = measure(f"http://127.0.0.1:{port}", process, arguments)
    finally:
        process.terminate()
        process.wait(60)
    found = summary(load, arguments.minutes)
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps({**found, "memory": load.memory}))
    if load.failed:
        raise SystemExit("\n".join(load.failed[:5]))


if __name__ == "__main__":
    main()
