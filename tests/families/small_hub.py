"""A Hub of one's own on 127.0.0.1: what ``huggingface_hub`` asks for, answered from folders."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class SmallHub:
    """Repositories by name; ``gated`` ones refuse their files."""

    repositories: dict[str, Path]
    gated: set[str] = field(default_factory=set)
    failing: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def files_sent(self) -> list[str]:
        """Names of the files that were asked for whole."""
        return [line.rsplit("/", 1)[-1] for line in self.asked if line.startswith("GET /org")]


class Handler(BaseHTTPRequestHandler):
    """Answers one request of ``hub``."""

    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        self.hub.asked.append(f"{self.command} {urlsplit(self.path).path}")
        if self.hub.failing:
            self._send(503, b"{}", body)
        elif parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main", body)
        else:
            self._file("/".join(parts[:2]), "/".join(parts[4:]), body)

    def _describe(self, name: str, revision: str, body: bool) -> None:
        if name not in self.hub.repositories:
            self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", "v1", SHA):
            self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
        else:
            files = sorted(self.hub.repositories[name].rglob("*"))
            siblings = [
                {
                    "rfilename": str(file.relative_to(self.hub.repositories[name])),
                    "size": file.stat().st_size,
                    "blobId": "0" * 40,
                }
                for file in files
                if file.is_file()
            ]
            about = {"id": name, "modelId": name, "sha": SHA, "siblings": siblings}
            about |= {"private": False, "gated": name in self.hub.gated, "tags": []}
            self._send(200, json.dumps(about).encode(), body)

    def _file(self, name: str, file: str, body: bool) -> None:
        place = self.hub.repositories.get(name, Path("/nowhere")) / file
        if name in self.hub.gated:
            self._send(403, b"{}", body, {"X-Error-Code": "GatedRepo"})
        elif not place.is_file():
            self._send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})
        else:
            content = place.read_bytes()
            etag = f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"'
            self._send(200, content, body, {"ETag": etag, "X-Repo-Commit": SHA})

    def _send(
        self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(hub: SmallHub) -> Iterator[SmallHub]:
    """Answers within the block, at ``hub.url``."""
    bound = type("Bound", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
