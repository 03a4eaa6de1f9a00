"""The Qdrant servers that the tests run on.

QDRANT_URL names one that is there; QDRANT_API_KEY its key, if it has one; QDRANT_PREFER_GRPC=1 talks to it over gRPC,
at port QDRANT_GRPC_PORT (6334). The tests make collections of their own names there and drop them. QDRANT_BINARY is
Qdrant's executable, for tests that start servers of their own: with keys, with certificates, three in a cluster.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
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
    server = _started(folder, arguments, port or free_ports(), settings)
    try:
        _await_ready(server, folder)
        yield server
    finally:
        server.popen.terminate()
        server.popen.wait(30)


CLUSTER_SETTINGS = {"cluster__enabled": "true"}
"""What makes a server a node, beside its command line: see `node_command`."""


def node_command(uri: str, bootstrap: str | None = None) -> list[str]:
    """Return a node's arguments: where the other nodes reach it, and the node it asks to be let in.

    References
    ----------
    https://qdrant.tech/documentation/guides/distributed_deployment/
    """
    return ["--uri", uri] if bootstrap is None else ["--bootstrap", bootstrap, "--uri", uri]


@dataclass
class Cluster:
    """Servers that are one: nodes that can be killed, come back and leave for good.

    Parameters
    ----------
    folder
        Holds a folder for each node.
    ports
        The first of each node's: REST, gRPC and, for the other nodes, the third.
    """

    folder: Path
    ports: list[int]
    running: dict[int, Process] = field(default_factory=dict)

    def url(self, node: int) -> str:
        return f"http://localhost:{self.ports[node]}"

    def start(self, node: int) -> None:
        """Start a node, for the first time or again, and await that it is ready."""
        first, own = (f"http://127.0.0.1:{self.ports[which] + 2}" for which in (0, node))
        arguments = node_command(own, first if node else None)
        settings = {**CLUSTER_SETTINGS, "cluster__p2p__port": self.ports[node] + 2}
        folder = self.folder / f"node{node + 1}"
        self.running[node] = _started(folder, arguments, self.ports[node], settings)
        _await_ready(self.running[node], folder)

    def kill(self, node: int) -> None:
        """End a node as a power cut would (SIGKILL)."""
        process = self.running.pop(node)
        process.popen.send_signal(signal.SIGKILL)
        process.popen.wait(30)

    def peers(self, asked: int = 0) -> dict[int, int]:
        """Return the peer id of each node that a node knows."""
        known = httpx.get(f"{self.url(asked)}/cluster").json()["result"]["peers"]
        by_port = {int(peer["uri"].rstrip("/").rpartition(":")[2]) - 2: int(key) for key, peer in known.items()}
        return {self.ports.index(port): key for port, key in by_port.items()}

    def remove(self, node: int, *, asked: int = 0) -> None:
        """Let a node leave for good: its shards move to the others, then it is struck off and ended."""
        peers = self.peers(asked)
        for name in self._collections(asked):
            self._empty(name, peers[node], asked)
        answer = httpx.delete(f"{self.url(asked)}/cluster/peer/{peers[node]}", params={"timeout": 60}, timeout=70)
        answer.raise_for_status()
        self.kill(node)

    def await_active(self, name: str, *, asked: int = 0, seconds: float = 120) -> None:
        """Await that every copy of every shard is whole, as a node sees them."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            shards, moving = self.shards(name, asked)
            if not moving and all(state == "Active" for _, _, state in shards):
                return
            time.sleep(0.2)
        raise RuntimeError(f"{name} is not whole after {seconds:.0f} s: {self.shards(name, asked)}")

    def shards(self, name: str, asked: int = 0) -> tuple[list[tuple[int, int, str]], list[Any]]:
        """Return shard, peer and state of each copy of each shard, and the copies that are being made."""
        found = httpx.get(f"{self.url(asked)}/collections/{name}/cluster", timeout=60).json()["result"]
        here = [(shard["shard_id"], found["peer_id"], shard["state"]) for shard in found["local_shards"]]
        there = [(shard["shard_id"], shard["peer_id"], shard["state"]) for shard in found["remote_shards"]]
        return here + there, found["shard_transfers"]

    def _collections(self, asked: int) -> list[str]:
        found = httpx.get(f"{self.url(asked)}/collections").json()["result"]["collections"]
        return [each["name"] for each in found]

    def _empty(self, name: str, peer: int, asked: int) -> None:
        """Move a peer's copies to peers that have none of the same shard; drop those that all have already."""
        self.await_active(name, asked=asked)
        others = set(self.peers(asked).values()) - {peer}
        shards, _ = self.shards(name, asked)
        for shard in [shard for shard, where, _ in shards if where == peer]:
            free = sorted(others - {where for each, where, _ in shards if each == shard})
            if free:
                move = {"shard_id": shard, "from_peer_id": peer, "to_peer_id": free[0]}
                step: dict[str, Any] = {"move_shard": move}
            else:
                step = {"drop_replica": {"shard_id": shard, "peer_id": peer}}
            url = f"{self.url(asked)}/collections/{name}/cluster"
            httpx.post(url, json=step, params={"timeout": 60}, timeout=70).raise_for_status()
            self.await_active(name, asked=asked)


@contextmanager
def own_cluster(folder: Path, nodes: int = 3) -> Iterator[Cluster]:
    """Start nodes in a folder, on loopback, that form a cluster; node 0 is the first."""
    cluster = Cluster(folder, [])
    while len(cluster.ports) < nodes:
        port = free_ports()
        if all(abs(port - other) > 2 for other in cluster.ports):
            cluster.ports.append(port)
    try:
        for node in range(nodes):
            cluster.start(node)
        until = time.monotonic() + 60
        while any(len(cluster.peers(node)) < nodes for node in range(nodes)):
            if time.monotonic() > until:
                raise RuntimeError(f"the nodes have not found each other: {cluster.peers()}")
            time.sleep(0.1)
        yield cluster
    finally:
        for node in list(cluster.running):
            cluster.kill(node)


def _started(folder: Path, arguments: Sequence[str], port: int, settings: Mapping[str, Any]) -> Process:
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
    return Process(port, popen, scheme)


def free_ports(count: int = 3) -> int:
    """Return the first of some ports in a row that nobody listens on."""
    while True:
        first = random.randint(20_000, 30_000)
        if all(_is_free(port) for port in range(first, first + count)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def _await_ready(server: Process, folder: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if server.popen.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/readyz", verify=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise RuntimeError(f"{BINARY} did not start: {(folder / 'log').read_text()[-2000:]}")
