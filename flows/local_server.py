"""A Prefect API server for one build, which dies with it.

    with local_server():          # PREFECT_API_URL is the user's if set, else http://127.0.0.1:<port>/api
        …

Prefect's own temporary server outlives a build that is killed. This one holds the reading end of a pipe whose writing end only the build
has: when the build is gone, however it went, the pipe closes and the server exits. Run history stays in PREFECT_HOME as usual.
"""

import io
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

from prefloom.schemas.errors import InputError, reason

START_TIMEOUT = 180  # seconds; a first start migrates the database


@contextmanager
def local_server() -> Iterator[None]:
    """Make sure that a Prefect API answers inside the block: the one the user has set, or a server of our own."""
    settings = _settings()
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if settings.api.url:  # from the environment or the active profile
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
        start_new_session=True,  # Ctrl-C is for the build, which then closes the pipe
    )
    log: deque[bytes] = deque(maxlen=100)
    threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True).start()
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait(process, url, log)
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        for handler in logging.getLogger("prefloom").handlers:
            handler.flush()  # the last lines of the build are on their way to the server
        if process.stdin:
            process.stdin.close()
        process.wait(timeout=30)


def _settings() -> Any:
    """Prefect's settings, if they can be read and its home can be written to; InputError otherwise."""
    import httpx
    from pydantic import ValidationError

    try:
        with redirect_stderr(io.StringIO()):  # Prefect complains there too, in its own words
            from prefect.settings import get_current_settings

            settings = get_current_settings()
        httpx.URL(settings.api.url or "")
        settings.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.home):
            return settings
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            "Prefect's settings", ".".join(map(str, first["loc"])), found=first["msg"], expected="what Prefect can read"
        ) from None
    except httpx.InvalidURL as error:
        raise InputError("PREFECT_API_URL", found=str(error), expected="the URL of a Prefect server") from None
    except OSError as error:
        wish = "a folder that can be written to: Prefect keeps its records there"
        raise InputError("PREFECT_HOME", found=f"{error.filename}: {reason(error)}", expected=wish) from None


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Iterable[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"Prefect's server did not start:\n{b''.join(log).decode(errors='replace')}")


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
