"""One real vLLM server for the whole session, on CPU, with the tiny model of tiny_model.py.

`make test-vllm` builds the environment and names it in PREFLOOM_TEST_VLLM; without, everything here is skipped.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.schemas.serving import Vllm

ROOT = Path(__file__).parents[2]
HOME = ROOT / os.environ["PREFLOOM_TEST_VLLM"] if os.environ.get("PREFLOOM_TEST_VLLM") else None
# What a server on two cores needs: no compilation, little memory, blocks as small as the CPU kernels allow.
ARGUMENTS = ["--max-model-len", "4096", "--max-num-seqs", "32", "--dtype", "float32", "--enforce-eager", "--block-size", "32"]
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "2"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if HOME is None:
                item.add_marker(pytest.mark.skip(reason="needs a vLLM of its own: make test-vllm"))


def settings(variant: str = "thinking", **fields: object) -> Vllm:
    """A server with the tiny model: `thinking` has the switch enable_thinking, `plain` never thinks."""
    assert HOME
    given = {"command": str(HOME / "bin" / "vllm"), "path": str(HOME / "models" / variant), "start_timeout": 400.0}
    return Vllm.model_validate(given | {"arguments": ARGUMENTS, "environment": ENVIRONMENT} | fields)


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A running server; its model is called `tiny`. A test that kills it brings it back with ensure()."""
    with VllmServer(settings(), model="tiny", log=tmp_path_factory.mktemp("vllm") / "vllm-tiny.log") as server:
        server.start()
        yield server
