"""Who answers. An engine sees rendered messages and sampling settings, and nothing else: no id, no trait, no path.

protocol.py  Request, Reply, Engine        asking.py  the journal between a stage and an engine
society/     the simulated society: writes and judges in process, needs no weights

engine = open_engine(recipe.models["judge"]);  engine.identity  ->  "society/judge@5e1f09ab12cd"
"""

from prefloom.flows.engines.protocol import Engine
from prefloom.schemas.recipe import SocietyModel


def open_engine(model: SocietyModel) -> Engine:
    """The engine that a recipe's model names."""
    from prefloom.flows.engines.society import Society

    return Society(model.character)
