"""The population panel, on an engine whose tastes, liking for the first answer, noise and refusals are planted here."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prefloom.flows.dataset.heterogeneity import Estimate, Floats
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.prompts.fence import fenced
from tests.benchmarks import panel

PROMPTS = [f"task {i}" for i in range(6)]
PEOPLE = [f"person {i}" for i in range(16)]
ANSWERS = [[f"{task}, answer {i}" for i in range(panel.ANSWERS)] for task in PROMPTS]
FIRST = 0.7


def number(*parts: str) -> float:
    """A fixed number from -1 to 1."""
    return int.from_bytes(hashlib.blake2b("|".join(parts).encode(), digest_size=4).digest()) / 2**31 - 1


def liking(person: str, answer: str) -> float:
    """Half common to all, and a camp's: persons of equal parity like the same."""
    parity = "" if not person else str(int(person.split()[1]) % 2)
    return number("all", answer) + (number(parity, answer) if person else 0.0)


class Fake:
    """Judges by `liking`, likes whatever comes first, and refuses what `refuses` says."""

    free, votes, in_flight, identity = True, 0, 1, "fake"

    def __init__(self, noise: float = 0.0, refuses: Callable[[str], bool] = lambda said: False) -> None:
        self.noise, self.refuses = noise, refuses

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        for i, request in reversed(list(enumerate(requests))):  # in any order
            said = "\n".join(content for _, content in request.messages)
            parts = fenced(request.messages[-1][1])
            person = parts.get("persona", "")
            if self.refuses(re.sub(r"[0-9a-f]{12}", "", said)):
                yield [(i, Reply("No."))]
                continue
            gap = liking(person, parts["first"]) - liking(person, parts["second"]) + FIRST + self.noise * number(said)
            yield [(i, Reply("A", logprobs={"A": -float(np.logaddexp(0, -gap)), "B": -float(np.logaddexp(0, gap))}))]


@pytest.fixture
def templates(tmp_path: Path) -> dict[str, str]:
    names = {}
    for name, inputs in {"one": "persona", "two": "persona", "generic": ""}.items():
        person = "{{ persona | fence('persona') }}" if inputs else ""
        fences = "{{ prompt | fence('task') }} {{ first | fence('first') }} {{ second | fence('second') }}"
        head = f"---\ninputs: [{', '.join([*inputs.split(), 'prompt', 'first', 'second'])}]\n---\n"
        (tmp_path / f"{name}.md").write_text(f"{head}## user\nTemplate {name}. {fences} {person}\n")
        names[name] = str(tmp_path / f"{name}.md")
    return names


def utilities() -> Floats:
    return np.array([[[liking(person, text) for text in row] for row in ANSWERS] for person in PEOPLE])


def test_readings_are_free_of_order_and_stand_in_their_places(templates: dict[str, str]) -> None:
    found, failed = panel.read(Fake(), PROMPTS, ANSWERS, PEOPLE, [templates["one"], templates["two"]])
    assert found.shape == (16, 6, 28, 2)
    assert failed == 0
    assert found[..., 0] == pytest.approx(panel.hp.log_odds_of(utilities()), abs=2e-4)
    assert (panel.choose(found[..., 1]) == utilities().argmax(axis=2)).all()
    generic, _ = panel.read(Fake(), PROMPTS, ANSWERS, [None], [templates["generic"]])
    common = np.array([[[liking("", text) for text in row] for row in ANSWERS]])
    assert generic[..., 0] == pytest.approx(panel.hp.log_odds_of(common), abs=2e-4)


def test_a_reading_stands_where_its_twin_failed(templates: dict[str, str]) -> None:
    one = re.compile(r"task 2, answer 0.*task 2, answer 1(?!\d).*person 3", re.DOTALL)
    found, failed = panel.read(Fake(refuses=lambda said: bool(one.search(said))), PROMPTS, ANSWERS, PEOPLE[:4], [templates["one"]])
    assert failed == 1
    assert found[3, 2, 0, 0] == pytest.approx(utilities()[3, 2, 0] - utilities()[3, 2, 1], abs=0.01), (
        "the mean liking for the first is gone"
    )
    both = re.compile(r"task 2, answer [01]\b.*task 2, answer [01]\b.*person 3", re.DOTALL)
    found, failed = panel.read(Fake(refuses=lambda said: bool(both.search(said))), PROMPTS, ANSWERS, PEOPLE[:4], [templates["one"]])
    assert failed == 2
    assert found[3, 2, 0, 0] == pytest.approx(found[:3, 2, 0, 0].mean())


def test_shuffling_moves_everybody_and_keeps_the_votes_of_a_prompt() -> None:
    log_odds = np.random.default_rng(0).normal(size=(9, 5, 28, 2))
    for each in (False, True):
        found = panel.shuffle(log_odds, 1, each_replicate=each)
        assert not (found == log_odds).any()
        assert (np.sort(found, axis=0) == np.sort(log_odds, axis=0)).all()
    same, fresh = ([panel.shuffle(log_odds, 1, each)[:, p, 0, :] for p in range(5)] for each in (False, True))
    rows = [{tuple(pair) for pair in log_odds[:, p, 0, :]} for p in range(5)]
    assert all({tuple(pair) for pair in part} == kept for part, kept in zip(same, rows, strict=True)), (
        "a user is one other in both templates"
    )
    assert any({tuple(pair) for pair in part} != kept for part, kept in zip(fresh, rows, strict=True))


def test_the_controls_are_told_apart(templates: dict[str, str]) -> None:
    judged, _ = panel.read(Fake(noise=0.5), PROMPTS, ANSWERS, PEOPLE, [templates["one"], templates["two"]])
    generic, _ = panel.read(Fake(), PROMPTS, ANSWERS, [None], [templates["generic"]])
    columns = {name: panel.figures(found, utilities()) for name, found in panel.populations(generic, judged, utilities(), 1).items()}

    def value(column: str, name: str) -> float:
        found = columns[column][name]
        assert isinstance(found, Estimate)
        return found.value

    assert value("no persona", "M5 pairwise agreement") == 1.0
    assert value("no persona", "M4 entropy, nats") == 0.0
    assert value("truth", "M6 nearest twin") == 1.0
    assert value("truth", "M10 user types") == pytest.approx(1.0), "two camps differ along one line"
    assert value("shuffled", "M4 entropy, nats") == value("persona judge", "M4 entropy, nats"), "votes per prompt stay"
    assert value("shuffled", "M6 nearest twin") < value("persona judge", "M6 nearest twin")
    assert value("shuffled", "M11 reliability") < 0.5 < value("persona judge", "M11 reliability")
    assert value("persona judge", "M16 persona sensitivity") > 0.1
    assert value("shuffled", "M15 accuracy against truth") < value("persona judge", "M15 accuracy against truth") < 1.0
    assert value("truth", "M17 headroom won, z units") > value("persona judge", "M17 headroom won, z units") > 0
    text = panel.table(columns)
    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert "| M1 rank of .50 | .000 (.000 to .000) |" in text
    assert text.splitlines()[2].endswith("| 42.6 | 14.2 |")
    assert set(panel.PERSONALLLM) <= set(columns["truth"])


def test_numbers_are_short() -> None:
    assert [panel.digits(x) for x in (0.4123, -0.05, 1.18, 2.345, 42.61, float("nan"))] == [".412", "-.050", "1.180", "2.35", "42.6", "–"]
