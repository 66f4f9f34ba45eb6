"""An OpenAI-compatible server in this process, over any engine; a test can break its answers."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ops.clean.engines import Answer, Chat, Engine, Likelihood, Reading


@dataclass(kw_only=True)
class Reply:
    """What goes back instead of an answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    """Send nothing and wait until the server stops."""


@dataclass(kw_only=True)
class Server:
    """A running server: its base URL, and what it was asked."""

    url: str = ""
    requests: list[tuple[str, dict[str, Any], Mapping[str, str]]] = field(default_factory=list)
    most_at_once: int = 0


@contextmanager
def serve(engine: Engine, trouble: Callable[[int, str], Reply | None] = lambda number, path: None) -> Iterator[Server]:
    """Serve `engine`; `trouble` may answer the request of that number (from 0) and path in its place."""
    server, stop, lock = Server(), threading.Event(), threading.Lock()
    at_once = 0

    def leave() -> None:  # before the reply goes out: its reader may ask the next question before this thread goes on
        nonlocal at_once
        with lock:
            at_once -= 1

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal at_once
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.requests)
                server.requests.append((self.path, body, dict(self.headers)))
                at_once += 1
                server.most_at_once = max(server.most_at_once, at_once)
            try:
                reply = trouble(number, self.path)
                if reply is not None and reply.hang:
                    stop.wait(30)
                    leave()
                    self.close_connection = True
                    return
                if reply is None:
                    with lock:
                        reply = Reply(body=json.dumps(answer(engine, self.path, body)).encode())
                leave()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)
            except BrokenPipeError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
    try:
        yield server
    finally:
        stop.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def answer(engine: Engine, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in the form of the API."""
    if path == "/tokenize":
        return {"count": engine.count_tokens([body["prompt"]])[0], "max_model_len": 8192}
    if path == "/v1/chat/completions":
        messages = {message["role"]: message["content"] for message in body["messages"]}
        _, result = next(engine.generate([Chat(system=messages.get("system", ""), user=messages["user"])]))
        assert isinstance(result, Answer)
        return {
            "choices": [{"message": {"content": result.text}, "finish_reason": result.finish_reason}],
            "usage": {"prompt_tokens": result.tokens_in, "completion_tokens": result.tokens_out},
        }
    assert path == "/v1/completions"
    assert (body["echo"], body["max_tokens"]) == (True, 0)
    prompt, separator, option = body["prompt"].rpartition(" ")
    _, scored = next(engine.score([Reading(head="", tail=prompt)], [separator + option]))
    assert isinstance(scored, Likelihood)
    # The option as two tokens, the prompt as two more; as servers do, the first token has no likelihood.
    return {
        "choices": [
            {
                "logprobs": {
                    "tokens": [prompt[:5], prompt[5:], separator, option],
                    "token_logprobs": [None, -7.0, scored.log_likelihoods[0], 0.0],
                    "text_offset": [0, 5, len(prompt), len(prompt) + 1],
                }
            }
        ]
    }
