"""A Prefect API server for one build, which dies with it.

    with local_server() as url:              # the user's PREFECT_API_URL if set, else http://127.0.0.1:<port>/api
        …

Prefect's own temporary server outlives a build that is killed. This one holds the reading end of a pipe whose writing end only the build
has: when the build is gone, however it went, the pipe closes and the server exits. Run history stays in PREFECT_HOME as usual.
"""

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

START_TIMEOUT = 180  # seconds; a first start migrates the database


@contextmanager
def local_server() -> Iterator[None]:
    """Make sure that PREFECT_API_URL answers inside the block. The server starts while the caller goes on importing."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = _free_port()
    quiet = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "prefloom.flows.local_server", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | quiet,
    )
    log: list[bytes] = []
    threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True).start()
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    try:
        import prefect  # noqa: F401 - about a second, spent while the server starts

        _wait(process, log)
        yield
    finally:
        del os.environ["PREFECT_API_URL"]
        if process.stdin:
            process.stdin.close()
        process.wait(timeout=30)


def _wait(process: "subprocess.Popen[bytes]", log: list[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(os.environ["PREFECT_API_URL"] + "/health", timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"Prefect's server did not start within {START_TIMEOUT} s:\n{b''.join(log).decode(errors='replace')[-4000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(port: int) -> None:
    def follow_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=follow_parent, daemon=True).start()
    import uvicorn

    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
