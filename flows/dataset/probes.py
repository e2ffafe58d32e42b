"""What is known of the models' servers: beside the run that used them, and beside the journal for the next run.

data/runs/<run>/models/judge.json              the probe (schemas/probe.py) that this run's rows were made with
data/journal/probes/Qwen_Qwen3-8B-1f0e….json   the latest probe of that model, so that `plan` knows its journal without a server

known(run, "judge")  ->  Probe or None          keep(run, "judge", probe)
"""

from pydantic import ValidationError

from prefloom.flows.dataset.run import Run
from prefloom.flows.dataset.store import Store
from prefloom.schemas.ids import content_hash
from prefloom.schemas.probe import Probe


def known(run: Run, name: str) -> Probe | None:
    """The probe of a model of the recipe: this run's own, else the latest of the same model and servers."""
    return _read(run.store, _own(name)) or _read(*_shared(run, name))


def keep(run: Run, name: str, probe: Probe) -> None:
    """Write it to both places."""
    text = probe.model_dump_json(indent=1).encode() + b"\n"
    for store, path in ((run.store, _own(name)), _shared(run, name)):
        store.publish(path, lambda file: file.write(text))


def of_run(store: Store, names: list[str]) -> dict[str, Probe]:
    """name -> probe of the models that this run has asked."""
    return {name: probe for name in names if (probe := _read(store, _own(name)))}


def _own(name: str) -> str:
    return f"models/{slug(name)}.json"


def _shared(run: Run, name: str) -> tuple[Store, str]:
    recipe = run.resolved.recipe
    server = recipe.servers.get(name)
    served = [recipe.models[name].model_dump(mode="json"), server and server.model_dump(mode="json", include={"urls", "vllm"})]
    return Store(run.beside("journal", "probes")), f"{slug(name)}-{content_hash(served, size=6)}.json"


def slug(name: str) -> str:
    """A file name for a name of the user's: readable, and different for different names."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in name)[:80]
    return plain if plain == name else f"{plain}-{content_hash(name, size=4)}"


def _read(store: Store, name: str) -> Probe | None:
    try:
        return Probe.model_validate_json(store.read(name))
    except (FileNotFoundError, ValidationError):
        return None
