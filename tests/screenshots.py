"""Pictures of what people see: the report at three widths, light and dark, and Prefect's pages of the build that made it.

    make screenshots            (python -m tests.screenshots screenshots [--recipe demo] [--set PATH=VALUE …])

Needs a Chromium on the PATH (`apt-get install --no-install-recommends chromium`). Starts a Prefect server with its user interface on
an empty home, builds the recipe against it, and stops it again. Nothing leaves the machine. A minute on two cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefloom.flows import policies
from prefloom.flows.local_server import _free_port
from tests.chromium import Chromium

WIDTHS = (1280, 768, 390)


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A Prefect server with its pages on a port of loopback; gives its address."""
    address = f"http://127.0.0.1:{(port := _free_port())}"
    own = {"PREFECT_HOME": str(home), "PREFECT_SERVER_UI_API_URL": f"{address}/api", "PREFECT_UI_API_URL": f"{address}/api"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=os.environ | policies.ENVIRONMENT | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/health", timeout=2)
                break
            except OSError:
                assert time.monotonic() < deadline, "Prefect's server did not start"
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def post(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    rows: list[dict[str, Any]] = json.loads(urllib.request.urlopen(request, timeout=30).read())
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefloom-screenshots-") as scratch, prefect_server(Path(scratch)) as prefect:
        command = [sys.executable, "-m", "prefloom.flows.cli", "build", options.recipe, "--out", f"{scratch}/out", "--json"]
        command += [part for value in options.set for part in ("--set", value)]
        environment = os.environ | {"PREFECT_API_URL": f"{prefect}/api"}
        dataset = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)["dataset"]
        time.sleep(5)  # the server takes in the last logs and states
        (run,) = post(f"{prefect}/api/flow_runs/filter", {})
        artifacts = {row["key"].split("-")[-1]: row["id"] for row in post(f"{prefect}/api/artifacts/filter", {})}
        pages = {
            "prefect-runs": f"{prefect}/runs",
            "prefect-run": f"{prefect}/runs/flow-run/{run['id']}",
            "prefect-artifacts": f"{prefect}/artifacts",
            "prefect-table": f"{prefect}/artifacts/artifact/{artifacts['preferences']}",
            "prefect-link": f"{prefect}/artifacts/artifact/{artifacts['report']}",
        }
        with Chromium() as browser:
            for width in WIDTHS:
                for dark in (False, True):
                    page = browser.open(f"file://{dataset}/report.html", width, dark)
                    print(page.screenshot(options.folder / f"report-{width}{'-dark' if dark else ''}.png"))
            for name, url in pages.items():
                print(browser.open(url, 1280, settle=4).screenshot(options.folder / f"{name}.png"))


if __name__ == "__main__":
    main()
