"""Which engine a name in a recipe is given."""

from pathlib import Path
from typing import Any

from prefloom.flows.dataset.run import Run
from prefloom.flows.engines import close_engines, open_engine
from prefloom.flows.engines.endpoint.engine import Endpoint
from tests.helpers import BASE, resolved


def test_the_server_of_one_run_is_not_taken_for_that_of_another(tmp_path: Path) -> None:
    def judge(name: str, server: dict[str, Any]) -> Endpoint:
        models = BASE["models"] | {"judge": {"engine": "endpoint", "model": "tiny"}}
        engine = open_engine(Run.create(tmp_path, resolved(name=name, models=models, servers={"judge": server})), "judge")
        assert isinstance(engine, Endpoint)
        return engine

    try:
        assert judge("own", {"vllm": {"command": "vllm"}}).ours
        assert judge("theirs", {"urls": ["http://127.0.0.1:9/v1"]}).urls() == ["http://127.0.0.1:9/v1"]
    finally:
        close_engines()
