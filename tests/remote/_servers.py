"""Servers for tests and benchmarks: nginx, a small one with Range requests where nginx is not there, and a proxy that fails."""

import json
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NGINX = shutil.which("nginx") or (shutil.which("nginx", path="/usr/sbin:/usr/local/sbin"))

_NGINX_CONF = """
daemon off; master_process off; pid {prefix}/nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  log_format bytes '{{"method": "$request_method", "path": "$uri", "status": $status, "bytes": $bytes_sent}}';
  access_log {prefix}/access.log bytes;
  client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
  uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@dataclass
class Served:
    """A folder at a URL; ``requests()`` gives what the server has answered so far, one dictionary for each request."""

    url: str
    requests: Callable[[], list[dict[str, Any]]]

    def num_bytes(self) -> int:
        """Bytes sent, heads of answers included."""
        return sum(int(request["bytes"]) for request in self.requests())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def nginx(folder: Path, prefix: Path) -> Iterator[Served]:
    """Serve a folder as any nginx does; its files of its own lie in ``prefix``."""
    assert NGINX, "nginx is not installed"
    port = free_port()
    prefix.mkdir(parents=True, exist_ok=True)
    conf, log = prefix / "nginx.conf", prefix / "access.log"
    conf.write_text(_NGINX_CONF.format(prefix=prefix, port=port, folder=folder))
    server = subprocess.Popen([NGINX, "-p", str(prefix), "-e", "stderr", "-c", str(conf)], stderr=subprocess.PIPE)
    try:
        wait_for_port(port, lambda: server.poll() is None)
        yield Served(f"http://127.0.0.1:{port}", lambda: _logged(log, port))
    finally:
        server.terminate()
        server.communicate()


def _logged(log: Path, port: int) -> list[dict[str, Any]]:
    """What nginx has logged. It does so after the client has the answer, so one more request is waited for."""
    mark = f"/-mark-{time.monotonic_ns()}"
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", mark)
    connection.getresponse().read()
    connection.close()
    deadline = time.monotonic() + 10
    while mark not in (text := log.read_text()):
        assert time.monotonic() < deadline, "nginx does not log"
        time.sleep(0.005)
    return [request for line in text.splitlines() if not (request := json.loads(line))["path"].startswith("/-mark-")]


def wait_for_port(port: int, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert alive(), "the server ended before it could be reached"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def range_server(folder: Path, *, knows_ranges: bool = True) -> Iterator[Served]:
    """Serve a folder from a thread; ``knows_ranges=False`` is `python -m http.server`."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / self.path.lstrip("/")
            data, status = (path.read_bytes(), 200) if path.is_file() else (b"not found", 404)
            asked = self.headers.get("Range", "")
            if knows_ranges and status == 200 and asked:
                size = len(data)
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start = max(0, size - int(last)) if not first else int(first)
                stop = size if not first or not last else min(size, int(last) + 1)
                data, status = (data[start:stop], 206) if start < stop else (b"", 416)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                data = b""
            seen.append({"method": self.command, "path": self.path, "status": status, "bytes": len(data) + 200})
            self.wfile.write(data)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with _running(Handler) as port:
        yield Served(f"http://127.0.0.1:{port}", lambda: list(seen))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or that a fault sent away."""


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FAULTS = ("reset", "lost", "503", "slow", "truncated")
"""Reset before the request is passed on, or after (the answer is lost); 503; no first byte for a long time; half a body."""


@dataclass
class Proxy:
    """A proxy that fails on purpose: the fault of a request (method, path and range) is ``plan(request)`` (None: none)."""

    url: str
    injected: Counter[str]


def seeded_plan(seed: int, share: float) -> Callable[[str], str | None]:
    """A fault for about this share of all requests, each as often as the others; the same request never fails twice in a row.

    Threads decide which request comes when, so without that rule a request could fail as often as a client tries it.
    """
    drawn = random.Random(seed)
    failed: set[str] = set()

    def plan(request: str) -> str | None:
        if request in failed:
            failed.remove(request)
            return None
        fault = drawn.choice(FAULTS) if drawn.random() < share else None
        if fault:
            failed.add(request)
        return fault

    return plan


@contextmanager
def fault_proxy(target: str, plan: Callable[[str], str | None], *, slow_s: float = 2.0) -> Iterator[Proxy]:
    """A proxy in front of ``target`` (``http://host:port``)."""
    host = target.removeprefix("http://")
    injected: Counter[str] = Counter()
    lock, over = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            assert "Transfer-Encoding" not in self.headers, "bodies in pieces are not passed on"
            with lock:
                fault = plan(f"{self.command} {self.path} {self.headers.get('Range')}")
                injected[fault or "none"] += 1
            if fault == "reset":
                return self.reset()
            if fault == "slow":
                over.wait(slow_s)
                return self.reset()
            if fault in ("503", "403"):
                code = "SlowDown" if fault == "503" else "AccessDenied"
                return self.answer(int(fault), [], f"<Error><Code>{code}</Code></Error>".encode())
            upstream = HTTPConnection(host, timeout=30)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                response = upstream.getresponse()
                data = response.read()
            finally:
                upstream.close()
            # A body of nothing cannot be cut.
            if fault == "lost" or (fault == "truncated" and not data):
                return self.reset()
            kept = [(key, value) for key, value in response.getheaders() if key.lower() not in _HOP_BY_HOP]
            cut = len(data) // 2 if fault == "truncated" else None
            return self.answer(response.status, kept, data, cut=cut, length=response.getheader("Content-Length"))

        def answer(
            self,
            status: int,
            headers: list[tuple[str, str]],
            data: bytes,
            *,
            cut: int | None = None,
            length: str | None = None,
        ) -> None:
            self.send_response_only(status)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if cut is None else data[:cut])
            self.close_connection = cut is not None

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    with _running(Handler) as port:
        try:
            yield Proxy(f"http://127.0.0.1:{port}", injected)
        finally:
            over.set()


_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding", "server", "date"}
