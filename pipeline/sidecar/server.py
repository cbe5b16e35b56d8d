"""HTTP for people and Prometheus: /metrics, /healthz and an index, read only.

Nothing that a client sends can reach further than this module: a bad request gets an error page, a client that hangs is cut off
after ten seconds, one that comes when too many others are being served is turned away.
"""

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from pipeline.errors import LaunchError

log = logging.getLogger("stopline.sidecar")

CLIENTS_MAX = 16
CLIENT_SECONDS_MAX = 10
_INDEX = """<!doctype html><meta charset="utf-8"><title>Stopline</title>
<h1>Stopline</h1>
<ul><li><a href="/metrics">/metrics</a> for Prometheus<li><a href="/healthz">/healthz</a> 200 when all is well</ul>
"""


class MetricsServer(ThreadingHTTPServer):
    """Serves one registry on one port.

    Args:
        host: Address or name to listen on.
        port: 0 = any that is free; `port` tells which.
        registry: What /metrics shows.
        faults: Returns what is wrong right now, for /healthz; empty when all is well.
        scraped: Called after each scrape.
    Raises:
        LaunchError: The port or the address is not to be had.
    """

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        faults: Callable[[], list[str]],
        scraped: Callable[[], None],
    ) -> None:
        self.registry = registry
        self.faults = faults
        self.scraped = scraped
        self.scrape_lock = threading.Lock()
        self._clients = threading.BoundedSemaphore(CLIENTS_MAX)
        where = f"sidecar.metrics_host {host}, sidecar.metrics_port {port}"
        try:
            self.address_family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            super().__init__(address[:2], _Handler)  # type: ignore[arg-type]
        except socket.gaierror as error:
            raise LaunchError(f"no such address: {error.strerror}", where, "use 127.0.0.1") from None
        except PermissionError:
            raise LaunchError("not allowed to listen on this port", where, "choose one above 1023") from None
        except OSError as error:
            remedy = "stop what uses it, or choose another --metrics-port; 0 is any free one"
            raise LaunchError(f"cannot listen: {error.strerror}", where, remedy) from None
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and give the port back."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host's name that http.server does: it can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client in a thread, or turn it away when there are too many."""
        if not self._clients.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client, then let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._clients.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a client that went away or sent nonsense; it is no fault of ours."""
        log.debug("a client of the metrics port failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = CLIENT_SECONDS_MAX
    server_version, sys_version = "stopline", ""

    def do_GET(self) -> None:
        """Answer GET."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            faults = self.server.faults()
            status = HTTPStatus.SERVICE_UNAVAILABLE if faults else HTTPStatus.OK
            self._answer(status, "text/plain; charset=utf-8", ("\n".join(faults) or "ok").encode() + b"\n")
        elif path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", _INDEX.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"there are /metrics and /healthz\n")

    def do_HEAD(self) -> None:
        """Answer as GET, without the body."""
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        """Log requests for debugging only: a scraper would fill the log."""
        log.debug(format, *args)

    def _metrics(self) -> None:
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        # One at a time: a scrape copies tables, and many at once would only cost memory.
        with self.server.scrape_lock:
            body = encode(self.server.registry)
            self.server.scraped()
        self._answer(HTTPStatus.OK, content_type, body)

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
