"""A chat model's endpoint as OpenAI's API has it, on loopback: it calls the first tool it is given, and quotes.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar


class Endpoint(BaseHTTPRequestHandler):
    """Asked with tools, it calls the first with the question; asked else, it quotes the first source it was shown."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(request)
        message = answer(request["messages"], request.get("tools"))
        if request.get("stream"):
            self.reply("text/event-stream", "".join(f"data: {json.dumps(each)}\n\n" for each in chunks(message)))
        else:
            finish = "tool_calls" if "tool_calls" in message else "stop"
            choice = {"index": 0, "message": message, "finish_reason": finish}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            self.reply("application/json", json.dumps({**HEAD, "choices": [choice], "usage": usage}))

    def reply(self, kind: str, body: str) -> None:
        content = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


HEAD = {"id": "1", "object": "chat.completion", "created": 0, "model": "quote"}


def answer(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return what the assistant says."""
    last = messages[-1]
    if tools and last["role"] == "user":
        function = tools[0]["function"]
        [argument, *_] = function["parameters"]["properties"]
        call = {"name": function["name"], "arguments": json.dumps({argument: text_of(last)})}
        called = {"index": 0, "id": "call-1", "type": "function", "function": call}
        return {"role": "assistant", "content": None, "tool_calls": [called]}
    shown = text_of(last) if last["role"] == "tool" else "\n".join(map(text_of, messages))
    return {"role": "assistant", "content": quoted(shown)}


def quoted(shown: str) -> str:
    """Return the beginning of what stands behind ``[1]``, between LlamaIndex's lines, or first."""
    patterns = r"^\[1\] (.+)", r"-{9,}\n(?:\w+: .*\n)*\s*(.+)", r"\A\s*(.+)"
    return next(found[1] for pattern in patterns if (found := re.search(pattern, shown, re.MULTILINE)))


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())


def chunks(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    finish = "tool_calls" if "tool_calls" in message else "stop"
    for delta, reason in ((message, None), ({}, finish)):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield {**HEAD, "object": "chat.completion.chunk", "choices": [choice]}


@contextmanager
def chat_endpoint() -> Iterator[str]:
    """Serve for as long as the block runs; gives the url that ends in ``/v1``."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
