"""Texts are measured three times, by means that share nothing, and always alike."""

import ast
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from prefloom.flows.engines.scorers import PROPERTIES, SETS, STYLE, VALUES, Set, raw, revision, score, standards
from prefloom.flows.engines.scorers.words import DIMENSION, embed, nearness, word_vectors

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "flows" / "engines" / "scorers"
SOCIETY = ROOT / "data" / "society"

# Property -> a text that has much of it, one that has little.
PAIRS = {
    "length": ("A short walk helps you think. " * 12, "A short walk helps you think."),
    "readability": (
        "The cat sat on the mat. It was a warm day. She fed it fish and went out to play. The sun was high.",
        "Institutional considerations necessitate comprehensive restructuring, notwithstanding administrative requirements of committees.",
    ),
    "structure": (
        "# Tea\n\n## Needed\n\n- a pot\n- hot water\n\n## Steps\n\n1. Boil.\n2. Pour.\n\n| cup | ml |\n|---|---|\n| small | 150 |",
        "For tea one needs a pot, some leaves and hot water. One boils the water and pours it. A small cup holds 150 ml.",
    ),
    "formality": (
        "The committee requires the submission of all documentation prior to the commencement of the evaluation of the application.",
        "Hey dude, I'm gonna tell you, it's super cool stuff, so don't worry, ok? You'll just love it, yeah!",
    ),
    "hedging": (
        "It may perhaps help. This could possibly depend on the person, and it might sometimes seem unclear.",
        "It helps. This follows from the law of gravity, and every trial shows it. The answer is four.",
    ),
    "warmth": (
        "My dear friend, I am so glad to hear from you! I hope your heart is full of love and joy. Thank you for your kindness.",
        "The valve closes at 40 bar. The second unit reports the state of the pump. A fault is written to the file.",
    ),
    "humour": (
        "Knock knock! Who's there? A silly banana! Haha, what a funny joke, oh my, I can't stop laughing at this ridiculous pun!",
        "The annual report lists the income of the firm. The auditor signed it in March. The numbers agree with the ledger.",
    ),
    "concreteness": (
        "She put the red apples and a loaf of bread on the kitchen table, shut the door, and sat on the wooden chair with the dog.",
        "The significance of this concept lies in its implications for the understanding of moral responsibility and political freedom.",
    ),
    "address": (
        "You can do this at home. Take your time. If you get stuck, ask your teacher. Your effort will pay you back.",
        "The river rises in the hills. Its water reaches the sea after nine days. The delta is home to many birds.",
    ),
    "questions": ("What is it? Why does it matter? How would we know? Who asked?", "It is a stone. It matters. They know. He asked."),
    "diversity": (
        "Quiet harbours draw weary sailors home; lanterns flicker, gulls complain, ropes creak, and somewhere an accordion wheezes.",
        "The man saw the dog and the dog saw the man. The man ran to the dog and the dog ran to the man. The dog saw the man.",
    ),
    "examples": (
        "Many metals rust slowly. For example, zinc does. Some never do, such as gold. For instance, imagine a ring found in a river.",
        "Many metals rust slowly. Zinc does. Some never do, and gold is one. A ring found in a river shines.",
    ),
    "thrift": (
        "Set a budget, save money each month, buy cheap food on discount and keep the cost of rent low.",
        "The violin enters in the second bar, and the cello answers with a long dark note.",
    ),
    "health": (
        "The doctor said that exercise and a healthy diet help patients recover from this disease and reduce symptoms.",
        "The violin enters in the second bar, and the cello answers with a long dark note.",
    ),
    "adventure": (
        "Our expedition was a thrilling adventure: we explored the jungle, climbed at dawn and travelled on, a journey into the wild.",
        "The office pays invoices on Friday. The form has three fields, and the clerk signs it.",
    ),
    "tradition": (
        "The ancient ceremony follows the customs of our ancestors, a sacred tradition passed down through generations and centuries.",
        "The office pays invoices on Friday. The form has three fields, and the clerk signs it.",
    ),
    "community": (
        "Neighbors and volunteers come together to help others; the local community shares food, and people support each other.",
        "The compiler emits a warning. The loop reads one byte and writes two. The register holds zero.",
    ),
    "ambition": (
        "She is determined to succeed: her goal is a brilliant career, and every achievement brings her closer to success as a leader.",
        "The soup is thick. The spoon lies beside the bowl, and the bread is still warm.",
    ),
    "nature": (
        "Birds sing in the forest, wild animals drink from the river, and flowers cover the mountain meadow among old trees.",
        "The compiler emits a warning. The loop reads one byte and writes two. The register holds zero.",
    ),
    "safety": (
        "Danger: protect yourself. Wear a helmet for safety, avoid the risk of accidents and heed every warning about hazards.",
        "The soup is thick. The spoon lies beside the bowl, and the bread is still warm.",
    ),
}

HOSTILE = {
    "empty": "",
    "letter": "a",
    "mark": "?",
    "emoji": "😀🎉👍🏽",
    "blank": " \n\t \n",
    "control": "".join(map(chr, range(32))) * 50,
    "surrogate": "\ud800 a \udfff",
    "combining": "e" + "\u0301" * 5000,
    "no letters": "12 345 !!! ... --- 6.7 " * 200,
    "other scripts": "これはペンです。 Это ручка. هذا قلم. İİİ ẞ ŉ " * 50,
    "megabyte": "a" * 1_000_000,
    "megabyte of stars": "*" * 1_000_000,
    "megabyte of spaces": " " * 1_000_000 + "x",
    "megabyte of apostrophes": "a'" * 500_000,
    "megabyte of questions": '?")' * 330_000,
    "megabyte of hyphens": "a-" * 500_000,
    "megabyte of bars": "|" * 1_000_000,
    "megabyte of lines": "- a\n" * 250_000,
    "megabyte of exclamations": "!" * 1_000_000 + "a",
    "megabyte of dots": ". " * 500_000,
    "megabyte of hashes": "#" * 1_000_000,
    "megabyte of digits": "1," * 500_000,
}

TEXTS = [text for pair in PAIRS.values() for text in pair] + [HOSTILE[name] for name in ("empty", "letter", "mark", "emoji", "control")]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("one", PROPERTIES)
def test_a_property_tells_a_pair_apart(name: Set, one: str) -> None:
    much, little = score(name, PAIRS[one])[:, PROPERTIES.index(one)]
    assert much - little > 0.7


@pytest.mark.parametrize("name", SETS)
def test_values_are_told_from_each_other(name: Set) -> None:
    """The text made for a value has more of that value than of any other."""
    found = score(name, [PAIRS[value][0] for value in VALUES])[:, len(STYLE) :]
    assert (found.argmax(axis=1) == np.arange(len(VALUES))).all()


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_any_text_is_measured_in_time(name: Set, kind: str) -> None:
    began = time.process_time()
    found = score(name, [HOSTILE[kind]])
    assert found.shape == (1, 20)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 4.0
    assert time.process_time() - began < 10.0  # a megabyte takes about a second; what backtracks takes hours


@pytest.mark.parametrize("name", SETS)
def test_the_batch_changes_nothing(name: Set) -> None:
    whole = score(name, TEXTS)
    order = list(range(len(TEXTS)))
    random.Random(1).shuffle(order)
    assert (score(name, [TEXTS[row] for row in order]) == whole[order]).all()
    assert (np.vstack([score(name, [text]) for text in TEXTS]) == whole).all()
    assert score(name, []).shape == raw(name, []).shape == (0, 20)
    assert (np.float32(np.round(whole.astype(np.float64), 4)) == whole).all()


def test_another_process_finds_the_same() -> None:
    """Nothing depends on the seed of hashes, nor on what was measured before."""
    code = (
        "import sys, hashlib; from prefloom.flows.engines.scorers import SETS, score; texts = sys.stdin.read().split('\\x1e');"
        "print(*[hashlib.sha256(score(name, texts).tobytes()).hexdigest() for name in SETS])"
    )
    texts = "\x1e".join(text for pair in PAIRS.values() for text in pair)
    hashes = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], input=texts, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


@pytest.mark.parametrize("name", SETS)
def test_a_word_is_no_extreme(name: Set) -> None:
    """One word is short, and otherwise not far from anything."""
    found = score(name, ["Money", "Danger", "Love", "Perhaps"])
    assert np.abs(np.delete(found, PROPERTIES.index("length"), axis=1)).max() < 3.0


def project_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name for name in names if name.startswith("prefloom")}
    return found


def test_no_set_imports_another_nor_anything_they_share() -> None:
    assert project_imports(FOLDER / "truth.py") == set()
    assert project_imports(FOLDER / "reading.py") == set()
    assert project_imports(FOLDER / "held_out.py") == {"prefloom.flows.engines.scorers.words"}
    assert project_imports(FOLDER / "words.py") == set()
    for name in SETS:
        opened = {one for one in SETS if f"lexicon_{one}.yaml" in (FOLDER / f"{name}.py").read_text().split('"""', 2)[2]}
        assert opened == {name}


def test_scoring_needs_no_torch() -> None:
    code = (
        "import sys; from prefloom.flows.engines.scorers import SETS, score; [score(s, ['A']) for s in SETS]; print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def entries(name: str, value: str) -> set[str]:
    found = yaml.safe_load((SOCIETY / f"lexicon_{name}.yaml").read_text())["values"][value]
    return {entry.strip("*.") for part in found.values() for entry in part.split()}


@pytest.mark.parametrize("value", VALUES)
def test_the_lists_are_large_and_differ(value: str) -> None:
    truth, reading = entries("truth", value), entries("reading", value)
    assert min(len(truth), len(reading)) >= 60
    assert len(truth & reading) < 0.25 * len(truth | reading)
    pole = yaml.safe_load((SOCIETY / "lexicon_held_out.yaml").read_text())["poles"][value]
    assert pole["width"] >= 60
    assert set(pole["words"].split()) | set(pole["less"].split()) <= word_vectors()[0].keys()


@pytest.mark.parametrize("name", SETS)
def test_the_constants_belong_to_the_code(name: Set) -> None:
    """After a change of a set: python -m tests.benchmarks.scorers ANSWERS.jsonl --write."""
    stored = yaml.safe_load((SOCIETY / "scorers.yaml").read_text())[name]
    assert stored.pop("revision") == revision(name)
    assert tuple(stored) == PROPERTIES
    assert all(sd > 0 and np.isfinite(mean) for mean, sd in standards(name))


def test_words_mean_what_they_mean() -> None:
    index, vectors = word_vectors()
    assert vectors.shape == (len(index), DIMENSION)
    assert vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 0.02
    river, lake, invoice = (vectors[index[word]] for word in ("river", "lake", "tax"))
    assert river @ lake > river @ invoice + 0.3
    assert nearness(["river"])[index["river"]] == 10_000
    assert (SOCIETY / "words.npz").stat().st_size < 800_000


def test_texts_have_a_direction() -> None:
    found = embed(["The river runs into the lake.", "A stream flows to the sea.", "The bank raised its interest rates.", "", "Ωmega 7"])
    assert found.shape == (5, DIMENSION)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
    assert np.allclose(np.linalg.norm(found[:3], axis=1), 1.0, atol=1e-6)
    assert not found[3].any()
    assert (embed(["lake. the into runs river The", "x"])[0] == embed(["The river runs into the lake."])[0]).all()
