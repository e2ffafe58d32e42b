"""Which of the build's own servers runs now: one at a time, so that an ensemble of models shares one GPU.

ours = Serving(recipe.servers["judge"].vllm, "Qwen/Qwen3-8B", Path("data/runs/demo-3b9c…/logs/vllm-judge.log"), "judge")
ours.ensure()      # -> "http://127.0.0.1:20417/v1"; stops another model's server first, starts or restarts its own
stop_all()         # at the end of a build
"""

import threading
from pathlib import Path

from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.schemas.errors import InputError
from prefloom.schemas.serving import Vllm

_GUARD = threading.Lock()
_RUNNING: dict["Serving", VllmServer] = {}


class Serving:
    """A model that is served when somebody asks it."""

    def __init__(self, settings: Vllm, model: str, log: Path, name: str, secret: str | None = None) -> None:
        self._server = VllmServer(settings, model, log, [secret] if secret else [], name)
        self._failed: InputError | None = None

    def ensure(self) -> str:
        """The base URL of its server, which runs when this returns. InputError if it cannot be made to."""
        with _GUARD:
            if self._failed:
                raise self._failed  # others wait for the same server: it is not started for each of them again
            try:
                if self in _RUNNING:
                    return self._server.ensure()
                _stop()
                _RUNNING[self] = self._server
                return self._server.start()
            except InputError as error:
                _RUNNING.pop(self, None)
                self._failed = error
                raise

    def url(self) -> str | None:
        """Where it runs, if it does."""
        return self._server.url if self in _RUNNING and self._server.alive else None

    def answered(self) -> None:
        """It has given a good answer since it was started."""
        self._server.answered()


def stop_all() -> None:
    """Stop what runs, and what is being started."""
    for server in list(_RUNNING.values()):
        server.give_up()  # whoever starts one holds the guard until it is up
    with _GUARD:
        _stop()


def _stop() -> None:
    for server in _RUNNING.values():
        server.stop()
    _RUNNING.clear()
