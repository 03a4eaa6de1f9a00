"""Servers with keys, certificates and prefixes: each is one of the test's own, started from QDRANT_BINARY."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from qdrant_client import models

from colbert_qdrant import AsyncMultivectorCollection, MultivectorCollection, Muvera
from colbert_qdrant.errors import AccessDenied, EngineUnavailable
from conftest import WordEmbedder
from servers import Process, needs_binary, own_server

KEY = "a-key-of-32-bytes-for-these-tests"
TESTS = str(Path(__file__).parents[1])
TEXTS = ["red apple", "blue sky", "green hill"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server with a key, which signs tokens that may do less."""
    folder = tmp_path_factory.mktemp("guarded")
    with own_server(folder, service__api_key=KEY, service__jwt_rbac="true") as server:
        yield server


@pytest.fixture(params=["REST", "gRPC"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def at(server: Process, protocol: str, **options: Any) -> dict[str, Any]:
    return {**(server.grpc if protocol == "gRPC" else {"url": server.url}), **options}


def token(**claims: Any) -> str:
    """Sign a token: https://qdrant.tech/documentation/guides/security/#granular-access-control-with-jwt."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).decode().rstrip("=")

    signed = f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.new(KEY.encode(), signed.encode(), hashlib.sha256).digest())}"


@pytest.fixture
def filled(guarded: Process, words: WordEmbedder) -> Iterator[str]:
    with MultivectorCollection(
        "filled", words, url=guarded.url, api_key=KEY, stages=[Muvera.from_embedder(words)]
    ) as collection:
        collection.add(TEXTS, ids=["a", "b", "c"])
        yield collection.name
        collection.drop()


@needs_binary
@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
class TestKeys:
    def test_a_key_opens(self, guarded: Process, protocol: str, filled: str, words: WordEmbedder) -> None:
        with MultivectorCollection(filled, words, **at(guarded, protocol, api_key=KEY)) as collection:
            assert [hit.id for hit in collection.search("blue sky", limit=1)] == ["b"]

    @pytest.mark.parametrize("key", [None, "another-key"])
    def test_without_it_nothing_does(
        self, guarded: Process, protocol: str, key: str | None, filled: str, words: WordEmbedder
    ) -> None:
        with pytest.raises(AccessDenied, match="api_key") as caught:
            MultivectorCollection(filled, words, **at(guarded, protocol, api_key=key))
        assert "another-key" not in str(caught.value)

    @pytest.mark.parametrize("access", ["r", [{"collection": "filled", "access": "r"}]], ids=["all", "one"])
    def test_a_key_that_only_reads_searches_and_is_refused_to_write(
        self, guarded: Process, protocol: str, access: Any, filled: str, words: WordEmbedder
    ) -> None:
        place = at(guarded, protocol, api_key=token(access=access))
        with MultivectorCollection(filled, words, **place) as collection:
            assert [hit.id for hit in collection.search("blue sky", limit=1)] == ["b"]
            assert [hit.id for hit in collection.search("blue sky", limit=1, candidates=2)] == ["b"]
            assert collection.count() == len(list(collection.scroll())) == len(TEXTS)
            assert [record.text for record in collection.get(["a"])] == ["red apple"]
            assert collection.score("red apple", ["a"])
            for write in (
                lambda: collection.add(["new"]),
                lambda: collection.delete(["a"]),
                lambda: collection.delete(filter=models.Filter()),
                lambda: collection.set_metadata(["a"], {"x": 1}),
                lambda: collection.create_index("x", "keyword"),
                collection.drop,
            ):
                with pytest.raises(AccessDenied, match="may not"):
                    write()
            assert collection.count() == len(TEXTS)

    def test_a_key_that_only_reads_makes_no_collection(
        self, guarded: Process, protocol: str, words: WordEmbedder
    ) -> None:
        with pytest.raises(AccessDenied, match="may not"):
            MultivectorCollection("new", words, **at(guarded, protocol, api_key=token(access="r")))

    def test_a_key_of_one_collection_writes_there(
        self, guarded: Process, protocol: str, filled: str, words: WordEmbedder
    ) -> None:
        key = token(access=[{"collection": "filled", "access": "rw"}])
        with MultivectorCollection(filled, words, **at(guarded, protocol, api_key=key)) as collection:
            collection.add(["a white cloud"], ids=["d"])
            assert collection.search("white cloud", limit=1)[0].id == "d"

    async def test_asynchronously(self, guarded: Process, protocol: str, filled: str, words: WordEmbedder) -> None:
        place = at(guarded, protocol, api_key=token(access="r"))
        async with AsyncMultivectorCollection(filled, words, **place) as collection:
            assert [hit.id for hit in await collection.search("blue sky", limit=1)] == ["b"]
            with pytest.raises(AccessDenied, match="may not"):
                await collection.add(["new"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of one's own for localhost, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command.split(), *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def secure(certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with own_server(
        tmp_path_factory.mktemp("secure"),
        service__enable_tls="true",
        tls__cert=certificate[0],
        tls__key=certificate[1],
        service__api_key=KEY,
    ) as server:
        yield server


@needs_binary
class TestCertificates:
    def test_one_of_ones_own_is_trusted_where_told(
        self, secure: Process, certificate: tuple[Path, Path], words: WordEmbedder
    ) -> None:
        trusting = {"verify": ssl.create_default_context(cafile=str(certificate[0]))}
        with MultivectorCollection("secure", words, url=secure.url, api_key=KEY, client_options=trusting) as collection:
            collection.add(TEXTS)
            assert collection.search("blue sky", limit=1)[0].text == "blue sky"
            collection.drop()

    def test_and_else_named(self, secure: Process, words: WordEmbedder) -> None:
        with pytest.raises(EngineUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            MultivectorCollection("secure", words, url=secure.url, api_key=KEY)

    def test_over_grpc_by_the_environment(
        self, secure: Process, certificate: tuple[Path, Path], words: WordEmbedder
    ) -> None:
        # gRPC reads its roots once a process: https://grpc.github.io/grpc/core/md_doc_environment_variables.html
        code = (
            "import sys; from colbert_qdrant import MultivectorCollection; from conftest import WordEmbedder\n"
            "with MultivectorCollection('secure', WordEmbedder(), url=sys.argv[1], api_key=sys.argv[2],"
            " prefer_grpc=True, client_options={'grpc_port': int(sys.argv[3]), 'verify': sys.argv[4]}) as collection:\n"
            "    collection.add(['blue sky', 'red apple'])\n"
            "    print(collection.search('blue sky', limit=1)[0].text)\n"
            "    collection.drop()\n"
        )
        command = [sys.executable, "-c", code, secure.url, KEY, str(secure.port + 1), str(certificate[0])]
        environment = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate[0]), "PYTHONPATH": TESTS}
        ran = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert ran.stdout.strip() == "blue sky", ran.stderr


@contextmanager
def behind_a_prefix(server: Process, prefix: str) -> Iterator[str]:
    """A proxy that hands on what comes under a prefix, as an ingress does, and knows nothing else."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def hand_on(self) -> None:
            if not self.path.startswith(f"/{prefix}/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = httpx.request(
                self.command,
                server.url + self.path.removeprefix(f"/{prefix}"),
                content=body,
                headers={"content-type": self.headers.get("content-type", "application/json")},
            )
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = hand_on  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@needs_binary
@pytest.mark.parametrize("way", ["in the url", "as an option"])
def test_behind_a_prefix(way: str, tmp_path: Path, words: WordEmbedder) -> None:
    with own_server(tmp_path) as server, behind_a_prefix(server, "search/qdrant") as url:
        place: dict[str, Any] = (
            {"url": f"{url}/search/qdrant"}
            if way == "in the url"
            else {"url": url, "client_options": {"prefix": "search/qdrant"}}
        )
        with MultivectorCollection("prefixed", words, **place) as collection:
            collection.add(TEXTS)
            assert collection.search("blue sky", limit=1)[0].text == "blue sky"
