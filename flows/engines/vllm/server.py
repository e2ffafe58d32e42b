"""One vLLM server of the build's own: started, waited for, restarted when it dies, stopped, and never left behind.

    with VllmServer(settings, model="judge", log=Path("data/runs/demo-3b9c…/logs/vllm-judge.log")) as server:
        server.start()       # -> "http://127.0.0.1:20417/v1", once it answers; InputError with the server's last words if it cannot
        server.answered()    # it has given a good answer: its next death is a new one
        server.ensure()      # -> the same URL, after a restart if it had died

The process lives under a guardian (guardian.py), which kills it when the build is gone. It listens on 127.0.0.1 alone and wants no key.
It gets the environment of the build, because CUDA, NCCL, HF and proxy settings stand there, less the build's Python paths, which are not
for another Python, and less every *_API_KEY and what else the caller calls a secret.
"""

import http.client
import json
import logging
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from prefloom.flows.engines.vllm import guardian
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Vllm
from prefloom.schemas.texts import short, visible

FRUITLESS = 3  # deaths in a row without one answer between them, after which a server is given up
GRACE, LAST_GRACE = 15.0, 3.0  # seconds from SIGTERM to SIGKILL: when stopped, and when the build is gone
# Below the ports that Linux gives to clients: a client that asks a dead server there again and again may end up connected to itself.
_PORTS = range(20_000, 32_000)
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
_NOT_FOR_IT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
_PREFIX = re.compile(r"^(\([^)]*pid=\d+\) )?((DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+ \S+ (\[[^\]]*\] )?)?\s*")
_TELLING = re.compile(
    r"^([\w.]*(Error|Exception|Interrupt)\b|\S.{0,80}\berror: )|killed|out of memory|no such file|address already in use", re.I
)
_log = logging.getLogger(__name__)


class VllmServer:
    """A `vllm serve` process and its address, which stays the same through restarts. Any thread may use it."""

    def __init__(self, settings: Vllm, model: str, log: Path, secrets: Collection[str] = (), name: str = "") -> None:
        self.settings, self.model, self.log, self.name = settings, model, log, name or model
        self.restarts = 0
        self._secrets = frozenset(secrets)
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self._fruitless = 0
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """Where it answers, with the /v1 of the OpenAI protocol."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def alive(self) -> bool:
        """Whether its process runs; it may still be loading."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Start it and wait until it answers; its URL."""
        with self._lock:
            self._stopped.clear()
            if not self.alive:
                self._port = self._port or _free_port()
                self._run()
            return self.url

    def ensure(self) -> str:
        """The URL of a server that runs: restarted if it has died. InputError when it dies again and again without an answer."""
        with self._lock:
            if self._stopped.is_set() or not self._port:
                raise RuntimeError(f"the server of model {self.model} does not run: it has not been started, or it has been stopped")
            if self.alive and self._get("/health")[0] != 503:  # 503: the engine behind the port is dead
                return self.url
            self._fruitless += 1
            if self._fruitless > FRUITLESS:
                raise self._wrong(f"a server that died {FRUITLESS + 1} times without answering anything in between")
            self.restarts += 1
            _log.warning("The vLLM server of %s has died; restart %d, its log is %s", self.model, self.restarts, self.log)
            self._end(LAST_GRACE)
            self._run()
            return self.url

    def answered(self) -> None:
        """Note a good answer: deaths before it do not count against the server any more."""
        self._fruitless = 0

    def give_up(self) -> None:
        """Let whoever waits for a start wait no longer; from any thread, at once."""
        self._stopped.set()

    def stop(self) -> None:
        """Stop it and all its processes. It may be started again."""
        self._stopped.set()  # whoever waits for a start gives up
        with self._lock:
            self._end(GRACE)

    def __enter__(self) -> "VllmServer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        """One process, from its start to its first answer."""
        environment = self._environment()
        command = self._command(environment)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(f"\n=== {time.strftime('%Y-%m-%d %H:%M:%S')} start {self.restarts + 1}: {visible(shlex.join(command))}\n")
            began = log.tell()
        self._process = subprocess.Popen(  # noqa: S603 - our own script, and the user's own server
            [sys.executable, "-I", "-S", guardian.__file__, str(self.log.resolve()), str(LAST_GRACE), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the build
        )
        try:
            self._wait(began)
        except BaseException:
            self._end(LAST_GRACE)
            raise

    def _wait(self, began: int) -> None:
        assert self._process
        deadline = time.monotonic() + self.settings.start_timeout
        while not self._stopped.is_set():
            if (code := self._process.poll()) is not None:
                raise self._wrong(f"`vllm serve` ended with exit code {code} before it answered: {self._last_words(began)}")
            if self._get("/health")[0] == 200 and self._serves():
                return
            if time.monotonic() > deadline:
                seconds = f"{self.settings.start_timeout:g} s"
                raise self._wrong(
                    f"no answer within {seconds}: {self._last_words(began)}", "start_timeout", "more seconds, or fewer weights"
                )
            self._stopped.wait(0.2)
        raise RuntimeError(f"the server of model {self.model} was stopped while it started")

    def _end(self, grace: float) -> None:
        """Stop the process, if there is one, and wait until all that it started is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(f"stop {grace:g}\n".encode(), timeout=grace + 15)  # until the guardian and its shadow are gone
        except subprocess.TimeoutExpired:
            process.kill()  # and the shadow kills the group
            process.communicate()

    def _command(self, environment: dict[str, str]) -> list[str]:
        """The whole command line. InputError if the executable or a folder is not there."""
        mine = self.settings
        named = mine.command or os.environ.get("PREFLOOM_VLLM") or "vllm"
        if not (executable := shutil.which(str(Path(named).expanduser()), path=environment.get("PATH"))):
            wish = "vLLM's executable, from an environment of its own; PREFLOOM_VLLM=/…/bin/vllm names it for all recipes"
            raise self._wrong(f"'{short(visible(named))}', which is no executable", "command", wish)
        # Tools that vLLM calls, ninja for one, stand beside it.
        environment["PATH"] = os.pathsep.join([str(Path(executable).parent), environment.get("PATH", "")])
        weights = self._folder(mine.path, "path") if mine.path else self.model
        adapters = {adapter.name: self._folder(adapter.path, f"adapters.{adapter.name}") for adapter in mine.adapters}
        # An adapter is served by its own name; what it sits on then needs another.
        command = [executable, "serve", weights, "--served-model-name", self.model + ("-base" if self.model in adapters else "")]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "--disable-uvicorn-access-log", "--enable-prompt-tokens-details"]
        for option, size in (("--data-parallel-size", mine.data_parallel), ("--tensor-parallel-size", mine.tensor_parallel)):
            command += [option, str(size)] if size > 1 else []
        if adapters:
            command += ["--enable-lora", "--lora-modules", *(f"{name}={path}" for name, path in adapters.items())]
        return command + mine.arguments

    def _folder(self, reference: str, field: str) -> str:
        path = Path(reference)
        if not path.exists():
            raise self._wrong(f"'{short(visible(reference))}', which is not there", field, "a folder with weights")
        return str(path)

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in self._secrets and k not in _NOT_FOR_IT and not k.endswith("_API_KEY")}
        return _QUIET | kept | self.settings.environment

    def _serves(self) -> bool:
        """Whether it is our server that answers there: another program may have taken the port."""
        body = self._get("/v1/models")[1]
        models = body.get("data") if isinstance(body, dict) else None
        names = [model.get("id") for model in models if isinstance(model, dict)] if isinstance(models, list) else []
        return self.model in names or f"{self.model}-base" in names

    def _get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a GET, (0, None) where nobody answers. No proxy comes between."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def _last_words(self, began: int) -> str:
        """What the log says of this start: the first and the last errors, or its last lines."""
        with self.log.open("rb") as log:
            log.seek(max(began, log.seek(0, os.SEEK_END) - 200_000))
            lines = [_PREFIX.sub("", line).strip() for line in log.read().decode(errors="replace").splitlines()]
        telling = list(dict.fromkeys(line for line in lines if _TELLING.search(line)))
        said = [*telling[:2], *telling[2:][-1:]] or [line for line in lines if line][-3:]
        return " | ".join(short(visible(line), 300) for line in said) or "it said nothing"

    def _wrong(self, found: str, field: str = "", expected: str = "") -> InputError:
        place = f"servers.{self.name}.vllm{f'.{field}' if field else ''}"
        return InputError("recipe", place, found=found, expected=expected or f"a server that runs; its log is {self.log}")


def _free_port() -> int:
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port among {_PORTS}")
