"""Who answers. An engine sees rendered messages and sampling settings, and nothing else: no id, no trait, no path.

protocol.py  Request, Reply, Engine        asking.py  the journal between a stage and an engine
endpoint/    OpenAI-compatible servers     vllm/  servers that prefloom starts itself
society/     the simulated society: writes and judges in process, needs no weights

engine = open_engine(run, "judge");  engine.identity  ->  "society/good-0.65-stereotype@5e1f09ab12cd"
"""

import sys
from collections.abc import Callable, Sequence

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines.protocol import Engine
from prefloom.schemas.models import EndpointModel, SocietyModel
from prefloom.schemas.people import planted_among
from prefloom.schemas.probe import Probe
from prefloom.schemas.recipe import Recipe
from prefloom.schemas.usage import Prefill


def open_engine(run: Run, name: str) -> Engine:
    """The engine behind a model of the run's recipe."""
    model = run.resolved.recipe.models[name]
    if isinstance(model, SocietyModel):
        from prefloom.flows.engines.society import Society

        return Society(model.character, model.phi, model.fill)
    from prefloom.flows.engines.endpoint.opening import open_endpoint

    return open_endpoint(run, name)


def open_people(run: Run) -> Engine:
    """The planted people of a run, who answer for themselves what they prefer."""
    from prefloom.flows.engines.society.interview import People

    return People(run.resolved.recipe)


def introduce(run: Run, name: str, letters: tuple[str, ...]) -> Probe:
    """Find out what serves a model that is asked over a network, and how it gives `letters` if it has to choose among some."""
    from prefloom.flows.engines.endpoint import opening

    return opening.introduce(run, name, letters)


def count_prefill(run: Run, models: Sequence[str]) -> Callable[[], dict[str, Prefill]]:
    """Begin to count what the servers of some models compute and reuse; call what it gives to end."""
    asked = [name for name in models if isinstance(run.resolved.recipe.models[name], EndpointModel)]
    if not asked:
        return dict
    from prefloom.flows.engines.endpoint import opening

    return opening.count_prefill(run, asked)


def plants(recipe: Recipe) -> bool:
    """Whether a recipe has people with planted tastes."""
    return bool(planted_among(recipe.personas))


def keep_truth(run: Run) -> None:
    """Write what is planted in the people of a run, outside the run, where only audits look."""
    if plants(run.resolved.recipe):
        from prefloom.flows.engines.society.truth import keep

        keep(run)


def truth_is_kept(run: Run) -> bool:
    """Whether that is done, or there is nothing to keep."""
    if not plants(run.resolved.recipe):
        return True
    from prefloom.flows.engines.society.truth import is_kept

    return is_kept(run)


def close_engines() -> None:
    """At the end of a build: let go of connections and servers, if there are any."""
    if opening := sys.modules.get("prefloom.flows.engines.endpoint.opening"):
        opening.close_all()
