"""Local servers for the tests: S3 (moto), a proxy that is busy at first, and a web server that knows ranges."""

import http.client
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from moto.server import ThreadedMotoServer

SLOW_DOWN = (
    503,
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
)
FORBIDDEN = (403, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")

Answer = tuple[int, bytes]


@pytest.fixture(scope="module")
def moto_server() -> Iterator[str]:
    """An S3 server in this process."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_endpoint(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty S3 server, with credentials for it in the environment."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    connection = http.client.HTTPConnection(urlsplit(moto_server).netloc, timeout=30)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()
    return moto_server


def put_s3(endpoint: str, files: dict[str, bytes]) -> str:
    """Put files below `s3://crawl/root`, which is returned."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="crawl")
    for name, data in files.items():
        client.put_object(Bucket="crawl", Key=f"root/{name}", Body=data)
    return "s3://crawl/root"


def put_s3_folder(endpoint: str, folder: Path) -> str:
    """Put the files of a folder below `s3://crawl/root`, which is returned."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return put_s3(endpoint, {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths})


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port of this machine; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class BusyProxy:
    """Passes requests on to `upstream`; the first ones for each (method, path, range) get the listed answers."""

    def __init__(self, upstream: str, answers: Callable[[str, str], list[Answer]]) -> None:
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.refused = 0
        self._lock = threading.Lock()
        self._answers = answers
        self._host = urlsplit(upstream).netloc

    def handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def forward(self) -> None:
                key = (self.command, self.path, self.headers.get("Range") or "")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with proxy._lock:
                    number = proxy.seen[key]
                    proxy.seen[key] += 1
                answers = proxy._answers(self.command, self.path)
                if number < len(answers):
                    with proxy._lock:
                        proxy.refused += 1
                    status, content = answers[number]
                    self.reply(status, [("Content-Type", "application/xml")], content)
                    return
                connection = http.client.HTTPConnection(proxy._host, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                connection.request(self.command, self.path, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read()
                self.reply(response.status, response.getheaders(), content)
                connection.close()

            def reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response(status)
                length = str(len(content))
                for name, value in headers:
                    if name.lower() == "content-length" and self.command == "HEAD":
                        length = value
                    elif name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward

        return Handler


class RangeServer:
    """Serves the files below `folder` with ranges, folders as links; counts the bytes of file content sent by path."""

    def __init__(self, folder: Path, *, ranges: bool = True) -> None:
        self.folder = folder
        self.ranges = ranges
        self.sent: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                path = server.folder / urlsplit(self.path).path.lstrip("/")
                if path.is_dir():
                    self.send_links(path)
                    return
                if not path.is_file():
                    self.send_error(404)
                    return
                size = os.path.getsize(path)
                start, end = 0, size
                wanted = self.headers.get("Range") if server.ranges else None
                if wanted:
                    first, _, last = wanted.removeprefix("bytes=").partition("-")
                    start, end = (
                        (int(first), min(size, int(last) + 1 if last else size))
                        if first
                        else (
                            max(0, size - int(last)),
                            size,
                        )
                    )
                    if start >= size:
                        self.send_error(416)
                        return
                self.send_response(206 if wanted else 200)
                if wanted:
                    self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(end - start))
                self.end_headers()
                if self.command != "HEAD":
                    with server._lock:
                        server.sent[urlsplit(self.path).path] += end - start
                    with path.open("rb") as file:
                        file.seek(start)
                        self.wfile.write(file.read(end - start))

            def send_links(self, folder: Path) -> None:
                links = [f'<a href="{child.name}{"/" if child.is_dir() else ""}">x</a>' for child in folder.iterdir()]
                content = "\n".join(sorted(links)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_HEAD = do_GET

        return Handler
