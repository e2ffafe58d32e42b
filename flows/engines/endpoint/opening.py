"""From a name in a recipe to an engine that may be asked.

open_endpoint(run, "judge")                          one engine for all shards; its probe, and so its identity, may still be unknown
introduce(run, "judge", letters=("A", "B"))          ask its servers who they are, and keep what they showed (dataset/probes.py)
close_all()                                          at the end of a build: connections and servers
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from prefloom.flows.dataset import probes
from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.endpoint import metrics
from prefloom.flows.engines.endpoint.engine import Endpoint, key_of
from prefloom.flows.engines.endpoint.loop import on_loop
from prefloom.flows.engines.vllm import serving
from prefloom.schemas.errors import InputError
from prefloom.schemas.models import EndpointModel
from prefloom.schemas.probe import Probe
from prefloom.schemas.serving import Server
from prefloom.schemas.usage import Prefill

# Arguments of vLLM that change what a model says, and not only how fast.
_TELLING = ("--quantization", "-q", "--dtype", "--chat-template", "--tokenizer", "--hf-overrides", "--rope-scaling", "--revision")
_SMALL = 1 << 20  # bytes of a file of weights that are read from either end

_ENGINES: dict[tuple[str, ...], Endpoint] = {}
_OURS: dict[tuple[str, str], serving.Serving] = {}  # by run and name: one process may look at several runs
_GUARD = threading.Lock()


def open_endpoint(run: Run, name: str) -> Endpoint:
    """The engine of a model of the recipe. InputError if `servers` does not say where it is."""
    model, server = _settings(run, name)
    probe = probes.known(run, name)
    if probe and server.vllm and probe.revision != _revision(model, server):
        probe = None  # other weights lie there now
    key = (run.url, name, model.model_dump_json(), server.model_dump_json(), probe.model_dump_json() if probe else "")
    with _GUARD:
        if key not in _ENGINES:
            if server.vllm and (run.url, name) not in _OURS:
                logs = run.folder if run.store.local else Path(tempfile.gettempdir()) / run.name  # a server writes to a disk
                log = logs / "logs" / f"vllm-{probes.slug(name)}.log"
                _OURS[run.url, name] = serving.Serving(server.vllm, model.model, log, name, server.key)
            _ENGINES[key] = Endpoint(name, model, server, probe, _OURS.get((run.url, name)))
        return _ENGINES[key]


def introduce(run: Run, name: str, letters: tuple[str, ...]) -> Probe:
    """Probe a model's servers. One that prefloom serves itself and knows already needs no introduction: nothing else is served there."""
    engine = open_endpoint(run, name)
    model, server = engine.model, engine.server
    if server.vllm and engine.probe and (engine.probe.read or not letters):
        return engine.probe
    from prefloom.flows.engines.endpoint.probe import Prober  # with the openai client: half a second of imports

    prober = Prober(name, model, engine.urls(), key_of(name, server), server.timeout, server.patience)
    found = on_loop(prober.probe(letters))
    if server.vllm:
        found = found.model_copy(update={"revision": _revision(model, server)})
    probes.keep(run, name, found)
    return found


def count_prefill(run: Run, models: Sequence[str]) -> Callable[[], dict[str, Prefill]]:
    """Read the servers' counters now, and once more when the result is called."""
    before = {name: _counters(run, name) for name in models}

    def since() -> dict[str, Prefill]:
        found = {}
        for name, first in before.items():
            last = _counters(run, name)
            # One of ours that was started in between has counted from zero.
            first = {url: first.get(url, {}) for url in last} if (run.url, name) in _OURS else first
            if prefill := metrics.difference(first, last):
                found[name] = prefill
        return found

    return since


def _counters(run: Run, name: str) -> dict[str, metrics.Counters]:
    """What the model's servers have counted so far, by address; nothing for those that do not run or do not count."""
    ours = _OURS.get((run.url, name))
    settings = _settings(run, name)[1]
    urls = settings.urls if ours is None else [url] if (url := ours.url()) else []
    return on_loop(metrics.read_all(urls)) if urls else {}


def close_all() -> None:
    """Let go of every connection, and stop every server that was started."""
    serving.stop_all()
    with _GUARD:
        for engine in _ENGINES.values():
            engine.close()
        _ENGINES.clear()
        _OURS.clear()


def _settings(run: Run, name: str) -> tuple[EndpointModel, Server]:
    recipe = run.resolved.recipe
    model, server = recipe.models[name], recipe.servers.get(name)
    assert isinstance(model, EndpointModel)
    if server is None:
        raise InputError("recipe", f"servers.{name}", found="nothing", expected="urls of servers that run, or vllm for one to start")
    return model, server


def _revision(model: EndpointModel, server: Server) -> str | None:
    """What the recipe states, and for a server of ours also what can be seen: the files of a local folder, arguments that matter."""
    vllm = server.vllm
    assert vllm is not None
    telling = [word for word in vllm.arguments if word.split("=")[0] in _TELLING]
    telling += [after for word, after in zip(vllm.arguments, vllm.arguments[1:], strict=False) if word in _TELLING]
    parts = [model.revision] if model.revision else []
    folders = [Path(path) for path in (vllm.path, *(adapter.path for adapter in vllm.adapters)) if path]
    if digests := [digest(folder) for folder in folders if folder.is_dir()]:
        parts.append("-".join(digests))
    return "+".join([*parts, *sorted(telling)]) or None


def digest(folder: Path) -> str:
    """12 hex digits over the files of a folder of weights: small ones whole, of large ones the size and both ends."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return _digest(folder, tuple((path, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files))


@lru_cache(maxsize=64)
def _digest(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Read once for all shards, while sizes and times stay."""
    state = hashlib.blake2b(digest_size=6)
    for path, size, _ in files:
        state.update(f"{path.relative_to(folder)}\0{size}\0".encode("utf-8", "replace"))
        with path.open("rb") as file:
            state.update(file.read(_SMALL))
            file.seek(max(_SMALL, size - _SMALL))
            state.update(file.read(_SMALL))
    return state.hexdigest()
