"""An S3 server for tests: moto's in a process of its own, or any other by its address (tests/ceph.sh starts a Ceph).

with object_store(None, folder) as url:      # s3://prefloom-1f0e…, AWS_ENDPOINT_URL and credentials in the environment
    …
"""

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def object_store(endpoint: str | None, folder: Path) -> Iterator[str]:
    """The URL of an empty bucket; the environment names its server as long as the block runs."""
    pytest.importorskip("s3fs")
    server = None
    if endpoint is None:
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
        _wait(port)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint}).items():
                patch.setenv(name, value)
            import s3fs

            name = f"prefloom-{uuid.uuid4().hex[:12]}"
            s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
            yield f"s3://{name}"
    finally:
        if server:
            server.kill()
            server.wait()


def _wait(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the S3 server did not start")
