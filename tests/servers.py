"""The Qdrant servers that the tests run on.

QDRANT_URL names one that is there; QDRANT_API_KEY its key, if it has one; QDRANT_PREFER_GRPC=1 talks to it over gRPC,
at port QDRANT_GRPC_PORT (6334). The tests make collections of their own names there and drop them. QDRANT_BINARY is
Qdrant's executable, for tests that start servers of their own: with keys, with certificates, three in a cluster.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient

URL = os.environ.get("QDRANT_URL", "")


def server_place() -> dict[str, Any]:
    """Return what opens a collection on the server."""
    place: dict[str, Any] = {"url": URL}
    if key := os.environ.get("QDRANT_API_KEY"):
        place["api_key"] = key
    if os.environ.get("QDRANT_PREFER_GRPC", "0") != "0":
        place["prefer_grpc"] = True
    if port := os.environ.get("QDRANT_GRPC_PORT"):
        place["client_options"] = {"grpc_port": int(port)}
    return place


def drop(names: Iterable[str]) -> None:
    """Remove collections from the server, by a connection of its own, as a test's own may be closed."""
    with closing(QdrantClient(URL, api_key=os.environ.get("QDRANT_API_KEY"))) as client:
        for name in names:
            client.delete_collection(name)


def before(*version: int) -> bool:
    """Tell whether the server is older than that."""
    with closing(QdrantClient(URL, api_key=os.environ.get("QDRANT_API_KEY"))) as client:
        return tuple(map(int, client.info().version.split("-")[0].split("."))) < version


_without = pytest.mark.skipif(not URL, reason="needs a Qdrant server; set QDRANT_URL")


def needs_server(test: Any) -> Any:
    """Mark a test, or a class of them, that runs on the server alone."""
    return pytest.mark.server(_without(test))


SERVER = pytest.param("server", marks=[pytest.mark.server, _without])
"""The server among the parameters of a test that runs on every engine."""


@dataclass(frozen=True)
class Process:
    """A server of a test's own."""

    port: int
    popen: subprocess.Popen[bytes]
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    @property
    def grpc(self) -> dict[str, Any]:
        """Return what opens a collection over gRPC."""
        return {"url": self.url, "prefer_grpc": True, "client_options": {"grpc_port": self.port + 1}}


BINARY = os.environ.get("QDRANT_BINARY", "")


def needs_binary(test: Any) -> Any:
    """Mark a test that starts servers of its own: with keys, with certificates, several of them."""
    without = pytest.mark.skipif(not BINARY, reason="needs Qdrant's executable; set QDRANT_BINARY")
    return pytest.mark.server(without(test))


@contextmanager
def own_server(folder: Path, *arguments: str, port: int | None = None, **settings: Any) -> Iterator[Process]:
    """Start a server in a folder, on loopback; ``service__api_key="secret"`` is a setting of its configuration.

    References
    ----------
    https://qdrant.tech/documentation/guides/configuration/
    """
    port = port or free_ports()
    settings = {
        "service__host": "127.0.0.1",
        "service__http_port": port,
        "service__grpc_port": port + 1,
        "service__enable_static_content": "false",
        "storage__storage_path": folder / "storage",
        "storage__snapshots_path": folder / "snapshots",
        "telemetry_disabled": "true",
        "log_level": "WARN",
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    environment = {f"QDRANT__{name.upper()}": str(value) for name, value in settings.items()}
    scheme = "https" if settings.get("service__enable_tls") else "http"
    with (folder / "log").open("ab") as log:
        popen = subprocess.Popen(
            [BINARY, *arguments], cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log
        )
    try:
        _await_ready(f"{scheme}://localhost:{port}/readyz", popen, folder / "log")
        yield Process(port, popen, scheme)
    finally:
        popen.terminate()
        popen.wait(30)


def free_ports(count: int = 3) -> int:
    """Return the first of some ports in a row that nobody listens on."""
    while True:
        first = random.randint(20_000, 30_000)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def _await_ready(url: str, popen: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if popen.poll() is not None:
            break
        try:
            if httpx.get(url, verify=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"{BINARY} did not start: {log.read_text()[-2000:]}")
