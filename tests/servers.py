"""The Qdrant server that the tests are told of, as arguments of whatever opens a collection.

QDRANT_URL names it; QDRANT_API_KEY its key, if it has one; QDRANT_PREFER_GRPC=1 talks to it over gRPC, at port
QDRANT_GRPC_PORT (6334). The tests make collections of their own names there and drop them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

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


_without = pytest.mark.skipif(not URL, reason="needs a Qdrant server; set QDRANT_URL")


def needs_server(test: Any) -> Any:
    """Mark a test, or a class of them, that runs on the server alone."""
    return pytest.mark.server(_without(test))


SERVER = pytest.param("server", marks=[pytest.mark.server, _without])
"""The server among the parameters of a test that runs on every engine."""
