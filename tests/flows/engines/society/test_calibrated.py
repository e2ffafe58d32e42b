"""The judges as calibrated and frozen: right as often as declared, with the errors that are declared, and blind to what is planted."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prefloom.flows.engines.protocol import Request
from prefloom.flows.engines.society import Society
from prefloom.flows.engines.society.judge import Asked, profile
from prefloom.flows.engines.society.people import plant
from prefloom.flows.engines.society.truth import Truth, keep
from prefloom.schemas.errors import InputError
from tests.benchmarks.calibration import AVERAGED, PHIS, SINGLE, TEMPLATES, Floats, Reference, accuracies, reads, reference
from tests.benchmarks.recovery import recover
from tests.helpers import run_stage, table

ROOT = Path(__file__).parents[4]
FROZEN = "7944a414e5eb97c5"


@pytest.fixture(scope="module")
def known() -> Reference:
    """The reference recipe: every taste told, in five levels."""
    return reference()


@pytest.fixture(scope="module")
def less() -> Reference:
    """A smaller one."""
    return reference(people=60, prompts=40)


def test_the_constants_are_frozen() -> None:
    """They are fitted once. Whoever fits them anew changes every figure that was measured with them, and says so in the CHANGELOG."""
    assert hashlib.sha256((ROOT / "data" / "society" / "judges.yaml").read_bytes()).hexdigest()[:16] == FROZEN


def test_the_ideal_judge_is_right_where_it_matters(known: Reference) -> None:
    ab, ba = reads(known, profile("ideal", 0.65), TEMPLATES[0])
    right = (ab + ba > 0) == (known.gaps > 0)
    assert right.mean() >= 0.90
    assert right[np.abs(known.gaps) >= 0.5].mean() >= 0.97


def test_the_ideal_judge_is_always_right_when_told_the_weights(less: Reference) -> None:
    told = replace(less, people=plant("fspo-like", 60, 1, stated=1.0, how="exact"))
    assert told.people.weights.tobytes() == less.people.weights.tobytes()
    assert accuracies(told, *reads(told, profile("ideal", 0.65), TEMPLATES[0]))[1] == 1.0


@pytest.mark.parametrize("phi", PHIS)
def test_the_small_judge_is_as_wrong_as_declared(known: Reference, phi: float) -> None:
    found = np.mean([accuracies(known, *reads(known, profile("small", phi), name)) for name in TEMPLATES], axis=0)
    assert found == pytest.approx([SINGLE, AVERAGED], abs=0.02)


def test_declared_errors_are_found_in_the_readings(less: Reference) -> None:
    for name, found in recover(less, "small", 0.65).items():
        assert found.holds, (name, found)
        assert found.low > 0, f"{name}: an interval as wide as this holds anything"


def test_persistent_errors_stay_when_wordings_are_averaged(known: Reference) -> None:
    def gained(phi: float) -> float:
        each = [reads(known, profile("small", phi), name) for name in TEMPLATES]
        together = accuracies(known, sum((ab for ab, _ in each), np.zeros(1)), sum((ba for _, ba in each), np.zeros(1)))[1]
        return together - float(np.mean([accuracies(known, ab, ba)[1] for ab, ba in each]))

    assert gained(0.25) > gained(0.9) + 0.01
    assert abs(gained(0.9)) < 0.01


def test_a_shuffled_persona_is_no_better_than_none(known: Reference) -> None:
    judge = profile("good", 0.65)

    def accuracy(descriptions: list[str]) -> tuple[float, float]:
        """(share right, its standard error over people)."""
        right = right_of(known, [descriptions[person] for person, _ in known.asked])
        people = np.array([person for person, _ in known.asked])
        each = np.array([right[people == one].mean() for one in np.unique(people)])
        return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))

    def right_of(known: Reference, told: list[str]) -> Floats:
        odds = np.zeros(len(known.asked))
        for sign in (1, -1):
            asked = []
            for (_, pair), persona in zip(known.asked, told, strict=True):
                _, one, other = known.pairs[pair]
                asked.append(Asked(*((one, other) if sign > 0 else (other, one)), persona, "a question"))
            odds += sign * np.array([verdict.log_odds for verdict in judge.read(asked)])
        return np.asarray((odds > 0) == (known.gaps > 0), dtype=float)

    own = known.people.descriptions
    (mine, error), (others, _), (nobody, _) = accuracy(own), accuracy(own[1:] + own[:1]), accuracy([""] * len(own))
    assert others - nobody < 4 * error
    assert mine - others > 0.2


def test_other_tastes_under_the_same_words_leave_every_verdict_alone(tmp_path: Path) -> None:
    """The taste that no word tells is planted anew; the people's descriptions and all that is read stay as they are."""
    folders = []
    for hidden in (0.02, 0.9):
        people = [{"source": "society", "count": 12, "hidden": hidden}]
        run = run_stage(tmp_path / str(hidden), "judgements", personas=people, prompts=[{"source": "seeds", "count": 6}])
        folders.append(run)
    one, other = folders
    assert table(one, "personas")["description"].to_list() == table(other, "personas")["description"].to_list()
    assert table(one, "judgements").equals(table(other, "judgements"))
    sealed = [sorted(run.folder.parent.parent.glob("journal/*good*/sealed-*")) for run in folders]
    assert [path.read_bytes() for path in sealed[0]] == [path.read_bytes() for path in sealed[1]] != []
    for run in folders:
        keep(run)
    truths = [next((tmp_path / name / "truth").glob("*/people.parquet")).read_bytes() for name in ("0.02", "0.9")]
    assert truths[0] != truths[1]
    kept = next((tmp_path / "0.02" / "truth").glob("*/people.parquet"))
    assert len(Truth.of(one).persona_ids) == 12
    for damaged in (truths[1], truths[0][:500], b"", b"none"):
        kept.write_bytes(damaged)
        with pytest.raises(InputError, match="other tastes than this recipe plants, or a damaged file"):
            Truth.of(one)


def test_answers_of_all_members_differ() -> None:
    request = Request((("user", "What causes the tides?"),), 512, 0.9, 1)
    members = ("terse", "friendly", "scholar", "coach", "reporter", "rambler")
    texts = {reply.text for member in members for batch in Society(member).answer([request], lambda: False) for _, reply in batch}
    assert len(texts) == len(members)
