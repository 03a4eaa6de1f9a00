"""A Qdrant server that fails on a schedule: its REST calls on a real socket, carried out by the client's local mode.

    python tests/faulty_server.py

serves without faults until its standard input is closed, and prints its url: a server in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, TypeAlias, get_args
from urllib.parse import unquote

from pydantic import BaseModel, TypeAdapter, ValidationError
from qdrant_client import QdrantClient, models

from colbert_qdrant.collection.engines.bm25 import with_bm25_vectors

Fault: TypeAlias = Literal[
    "reset", "drop after", "stall", "truncate", "garble", "408", "429", "500", "503", "drip", "hostile", "vhost", "NaN"
]
"""What goes wrong with a request.

``reset``: the connection, before anything is done. ``drop after``: the connection, when it is done. ``stall``: the
answer comes late. ``truncate``: half of the answer comes, ``garble``: a whole answer that is half of the JSON. The
numbers are statuses, answered before anything is done. ``drip``: the answer comes a byte at a time. ``hostile``: a
refusal that repeats the caller's key and holds escape sequences. ``vhost``: a proxy that knows no such host. ``NaN``:
scores are no numbers.
"""

FAULTS: tuple[Fault, ...] = get_args(Fault)[:9]
"""Those that pass: a second try may succeed."""

BODY_LIMIT = 32 * 2**20
"""https://github.com/qdrant/qdrant/blob/master/config/config.yaml: max_request_size_mb."""


def some_faults(seed: int, share: float, faults: tuple[Fault, ...] = FAULTS) -> Iterator[Fault | None]:
    """Give a fault to that share of the requests, always the same ones of a seed."""
    dice = random.Random(seed)
    while True:
        yield dice.choice(faults) if dice.random() < share else None


@dataclass(frozen=True)
class Request:
    """A request as it came in, and what was done to it."""

    method: str
    path: str
    headers: Mapping[str, str]
    size: int
    fault: Fault | None


class Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FaultyServer:
    """What is behind the socket.

    Set `faults` to what shall go wrong, a fault or ``None`` a request; at its end nothing more goes wrong.
    """

    def __init__(self, api_key: str | None = None) -> None:
        self.qdrant = QdrantClient(":memory:")
        self.url = ""
        self.api_key = api_key
        self.faults: Iterator[Fault | None] = iter(())
        self.retry_after: str | None = "1"
        self.version = "1.19.0"
        self.stall = 1.5
        self.requests: list[Request] = []
        self.created: dict[str, Any] = {}
        self._turn = threading.Lock()

    def admit(self, method: str, path: str, headers: Mapping[str, str], size: int) -> Request:
        """Note a request, and say what will be done to it."""
        with self._turn:
            request = Request(method, path, headers, size, next(self.faults, None))
            self.requests.append(request)
            return request

    def answer(self, request: Request, body: bytes) -> Any:
        if self.api_key not in (None, request.headers.get("api-key")):
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if len(body) > BODY_LIMIT:
            raise Refused(400, f"JSON payload ({len(body)} bytes) is larger than allowed (limit: {BODY_LIMIT} bytes)")
        name, *rest = [unquote(part) for part in request.path.split("/")][2:] or [""]
        arguments = json.loads(body) if body else {}
        try:
            with self._turn:
                if request.path == "/aliases":
                    return self.qdrant.get_aliases()
                return self._carry_out(request.method, name, rest, arguments)
        except ValidationError as error:
            raise Refused(422, str(error)) from error
        except ValueError as error:
            raise Refused(404 if "not found" in str(error) else 400, str(error)) from error

    def _carry_out(self, method: str, name: str, rest: list[str], body: dict[str, Any]) -> Any:
        qdrant = self.qdrant
        match method, rest:
            case "GET", ["exists"]:
                return {"exists": qdrant.collection_exists(name)}
            case "GET", []:
                return qdrant.get_collection(name) if name else qdrant.get_collections()
            case "DELETE", []:
                return qdrant.delete_collection(name)
            case "PUT", []:
                self.created[name] = body
                wanted = models.CreateCollection.model_validate(body)
                return qdrant.create_collection(
                    name,
                    vectors_config=wanted.vectors,
                    sparse_vectors_config=wanted.sparse_vectors,
                    metadata=wanted.metadata,
                )
            case "PATCH", []:
                return qdrant.update_collection(name, metadata=body.get("metadata"), vectors_config=body.get("vectors"))
            case "PUT", ["vectors", vector]:
                config: Any = TypeAdapter(models.VectorNameConfig).validate_python(body)
                return qdrant.create_vector_name(name, vector, config)
            case "PUT", ["points"]:
                points = [models.PointStruct.model_construct(**point | _vectors(point)) for point in body["points"]]
                return qdrant.upsert(name, **with_bm25_vectors({"points": points}))
            case "PUT", ["points", "vectors"]:
                updates = [models.PointVectors.model_construct(**point | _vectors(point)) for point in body["points"]]
                return qdrant.update_vectors(name, **with_bm25_vectors({"points": updates}))
            case "POST", ["points", "vectors", "delete"]:
                return qdrant.delete_vectors(name, body["vector"], models.FilterSelector(filter=body["filter"]))
            case "POST", ["points"]:
                wished = models.PointRequest.model_validate(body)
                return qdrant.retrieve(
                    name, wished.ids, with_payload=wished.with_payload, with_vectors=wished.with_vector
                )
            case "POST", ["points", "payload"]:
                return qdrant.set_payload(name, body["payload"], points=body["points"])
            case "PUT", ["points", "payload"]:
                return qdrant.overwrite_payload(name, body["payload"], points=body["points"])
            case "POST", ["points", "delete"]:
                selector: Any = TypeAdapter(models.PointsSelector).validate_python(body)
                return qdrant.delete(name, selector)
            case "POST", ["points", "count"]:
                return qdrant.count(name, models.CountRequest.model_validate(body).filter)
            case "POST", ["points", "scroll"]:
                page = models.ScrollRequest.model_validate(body)
                found, following = qdrant.scroll(
                    name,
                    page.filter,
                    page.limit or 10,
                    offset=page.offset,
                    with_payload=page.with_payload,
                    with_vectors=page.with_vector,
                )
                return {"points": found, "next_page_offset": following}
            case "POST", ["points", "query"]:
                return self._query(name, [body])[0]
            case "POST", ["points", "query", "batch"]:
                return self._query(name, body["searches"])
        raise Refused(404, f"{method} {'/'.join(rest)}: no such endpoint")

    def _query(self, name: str, searches: list[dict[str, Any]]) -> list[models.QueryResponse]:
        answers = []
        for search in searches:
            asked = with_bm25_vectors({"requests": [models.QueryRequest.model_validate(search)]})["requests"][0]
            answers.append(
                self.qdrant.query_points(
                    name,
                    asked.query,
                    using=asked.using,
                    prefetch=asked.prefetch,
                    query_filter=asked.filter,
                    limit=asked.limit or 10,
                    offset=asked.offset,
                    with_payload=asked.with_payload,
                    with_vectors=asked.with_vector,
                    score_threshold=asked.score_threshold,
                )
            )
        return answers

    @contextmanager
    def listening(self, port: int = 0) -> Iterator[str]:
        """Listen on the loopback, by default on any free port; yields the url."""
        http = _Listener(("127.0.0.1", port), type("Handler", (_Handler,), {"behind": self}))
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            self.url = f"http://127.0.0.1:{http.server_address[1]}"
            yield self.url
        finally:
            http.shutdown()
            http.server_close()
            thread.join()


@contextmanager
def serving(api_key: str | None = None) -> Iterator[tuple[FaultyServer, str]]:
    """Run a server; yields it and its url."""
    server = FaultyServer(api_key)
    with server.listening() as url:
        yield server, url


class _Listener(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay quiet about callers that hung up; all else is a fault of this file, and shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    behind: FaultyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.path == "/":  # asked once a connection, beside the requests that count
            if not self.behind.version:
                self.reply(503, _failure("away for a moment"))
                return
            self.reply(200, json.dumps({"title": "qdrant - vector search engine", "version": self.behind.version}))
            return
        request = self.behind.admit(self.command, self.path.partition("?")[0], headers, len(body))
        fault = request.fault
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        if fault in ("408", "429", "500", "503"):
            self.reply(int(fault), _failure(f"asked to answer {fault}"))
            return
        if fault == "hostile":
            self.reply(400, f"your key {headers.get('api-key')} \x1b]0;OWNED\x07\x1b[31m\u202egnihton")
            return
        if fault == "vhost":
            self.reply(404, "<html>no such host</html>")
            return
        try:
            content = json.dumps({"result": _as_json(self.behind.answer(request, body)), "status": "ok", "time": 0.0})
            status = 200
        except Refused as refusal:
            status, content = refusal.status, _failure(str(refusal))
        if fault == "drop after":
            self.close_connection = True
            return
        if fault == "stall":
            time.sleep(self.behind.stall)
        if fault == "NaN":
            content = re.sub(r'"score": [-0-9.e]+', '"score": NaN', content)
        if fault == "drip":
            self.drip(content.encode())
            return
        self.reply(status, content[: len(content) // 2] if fault == "garble" else content, cut=fault == "truncate")

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815  # http.server's names

    def reply(self, status: int, content: str, *, cut: bool = False) -> None:
        encoded = content.encode()
        self.send_response(status, HTTPStatus(status).phrase)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        if status == 429 and self.behind.retry_after is not None:
            self.send_header("Retry-After", self.behind.retry_after)
        self.end_headers()
        self.wfile.write(encoded[: len(encoded) // 2] if cut else encoded)
        self.close_connection |= cut

    def drip(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.2)  # ten seconds and more for the shortest answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Stay quiet."""


def _failure(reason: str) -> str:
    return json.dumps({"status": {"error": reason}, "time": 0.0})


def _as_json(result: Any) -> Any:
    if isinstance(result, BaseModel):
        return result.model_dump(mode="json")
    if isinstance(result, dict):
        return {key: _as_json(value) for key, value in result.items()}
    return [_as_json(item) for item in result] if isinstance(result, list) else result


def _vectors(point: dict[str, Any]) -> dict[str, Any]:
    """Return a point's vectors as models; lists of numbers stay lists, a model would check them one by one."""
    vector = point["vector"]
    if isinstance(vector, dict):
        structs: Any = TypeAdapter(models.VectorStruct)
        rest = structs.validate_python({name: value for name, value in vector.items() if isinstance(value, dict)})
        vector = {**vector, **rest}
    return {"vector": vector}


if __name__ == "__main__":
    with serving() as (_, url):
        print(url, flush=True)
        for _ in itertools.takewhile(bool, iter(sys.stdin.readline, "")):
            pass
