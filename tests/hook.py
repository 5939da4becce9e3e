"""A webhook on 127.0.0.1, for those that are told when a run is over."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Self


class Hook:
    """Answers with a status, and remembers what it was sent: headers in lower case, body."""

    def __init__(self) -> None:
        """Listen at once, at a port of its own."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(hook.status)
                if hook.body_bytes is not None:
                    self.send_header("Content-Length", str(hook.body_bytes))
                self.end_headers()
                self.wfile.write(b"x" * (hook.body_bytes or 0))

            def log_message(self, *_: object) -> None:
                pass

        self.status = 204
        self.body_bytes: int | None = 0
        """None: no word of how long the body is, and none."""
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/reportd?team=1"

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
