"""A web server on loopback that can be told to behave badly, for tests of downloads."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Manners:
    """How one file is served. ``cuts`` and ``stalls`` are bytes of body after which the
    answers, one entry each, break off or say nothing more."""

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    status: int = 200
    cuts: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    shift: int = 0  # bytes by which a range's answer is off
    slice: int | None = None  # bytes that a range's answer has at most, as RFC 9110 allows


class Mirror:
    """``files`` by path; ``asked`` is what came in: path, Range, If-Range, status."""

    def __init__(self) -> None:
        self.files: dict[str, Manners] = {}
        self.asked: list[tuple[str, str, str, int]] = []
        self._over = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror._serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        if not self._over.is_set():
            self._over.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        wanted, condition = (handler.headers.get(name, "") for name in ("Range", "If-Range"))
        file = self.files.get(handler.path, Manners(b"no such file", status=404))
        status, start = file.status, 0
        match = re.match(r"bytes=(\d+)-$", wanted)
        if match and file.ranges and status == 200 and condition in ("", file.etag):
            start = int(match[1])
            status = 206 if start < len(file.content) else 416
        self.asked.append((handler.path, wanted, condition, status))
        if status == 206:
            start += file.shift
        end = start + file.slice if status == 206 and file.slice else None
        body = b"" if status == 416 else file.content[start:end]
        handler.send_response(status)
        if file.etag:
            handler.send_header("ETag", file.etag)
        total = len(file.content)
        if status == 416:
            handler.send_header("Content-Range", f"bytes */{total}")
        elif status == 206:
            last = start + len(body) - 1
            handler.send_header("Content-Range", f"bytes {start}-{last}/{total}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            if file.cuts:
                handler.wfile.write(body[: file.cuts.pop(0)])
            elif file.stalls:
                handler.wfile.write(body[: file.stalls.pop(0)])
                handler.wfile.flush()
                self._over.wait(60)
            else:
                handler.wfile.write(body)
        except OSError:
            pass  # the client gave up first
        handler.close_connection = True
