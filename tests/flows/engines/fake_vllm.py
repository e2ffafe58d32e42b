"""An executable that looks like `vllm` from outside: it forks children that ignore SIGTERM, loads for a while, listens, answers /health.

    FAKE_PIDS=FILE [FAKE_SLOW=SECONDS] [FAKE_CRASH=TEXT] [FAKE_FRAGILE=1] fake_vllm.py serve WEIGHTS --served-model-name NAME --port N …

FILE gets a line `main PID`, `child PID` or `stray PID` (it has left the process group) for every process, FAKE_CRASH ends the start with
the text on standard error, FAKE_FRAGILE dies at the first question, FAKE_TAME lets the children heed
SIGTERM, with a line `tidied PID`. GET /environment and /arguments tell what it was given, GET /die ends it, and as long as there is a
file FILE.dead, /health says 503.
"""

import http.server
import json
import os
import signal
import sys
import time
from pathlib import Path


def note(kind: str) -> None:
    with Path(os.environ["FAKE_PIDS"]).open("a") as file:
        file.write(f"{kind} {os.getpid()}\n")


def tidy(number: int, frame: object) -> None:
    time.sleep(0.2)  # what vLLM's children need to give back their shared memory
    note("tidied")
    os._exit(0)


def spawn(kind: str) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, tidy if os.environ.get("FAKE_TAME") else signal.SIG_IGN)
        if kind == "stray":
            os.setpgid(0, 0)
        else:
            spawn("stray")
        note(kind)
        time.sleep(600)
        os._exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/die" or (self.path == "/ask" and os.environ.get("FAKE_FRAGILE")):
            print("RuntimeError: died as it was told", file=sys.stderr, flush=True)
            os._exit(1)
        name = sys.argv[sys.argv.index("--served-model-name") + 1]
        told = {"/v1/models": {"data": [{"id": name}]}, "/environment": dict(os.environ), "/arguments": sys.argv[1:]}
        body = b"" if self.path == "/health" else json.dumps(told.get(self.path)).encode()
        self.send_response(503 if self.path == "/health" and Path(os.environ["FAKE_PIDS"] + ".dead").exists() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    note("main")
    spawn("child")
    print("(APIServer pid=1) INFO 11-21 09:03:59 [x.py:1] loading", flush=True)
    time.sleep(float(os.environ.get("FAKE_SLOW", "0")))
    if os.environ.get("FAKE_CRASH"):
        sys.exit(os.environ["FAKE_CRASH"])
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
