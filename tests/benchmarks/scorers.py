"""What scorers find in real answers (JSON lines with a `text`): spread, agreement of the three sets, time, and sheets for readers.

python -m tests.benchmarks.scorers ANSWERS.jsonl                       tables
python -m tests.benchmarks.scorers ANSWERS.jsonl --write               also data/society/scorers.yaml: mean and standard deviation of each
python -m tests.benchmarks.scorers ANSWERS.jsonl --pairs sheet.md      also a blind sheet: 20 pairs per scorer, the key in sheet.key.json
python -m tests.benchmarks.scorers ANSWERS.jsonl --look truth humour   the extremes of one scorer
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from prefloom.flows.engines.scorers import PROPERTIES, SETS, Set, raw, revision

FILE = Path(__file__).parents[2] / "data" / "society" / "scorers.yaml"
PAIRS = 20
QUESTIONS = {
    "length": "Which is longer? (Long ones are cut here: length in words stands above them.)",
    "readability": "Which is easier to read: shorter sentences, plainer words?",
    "structure": "Which has more visible structure: lists, headings, tables?",
    "formality": "Which is more formal?",
    "hedging": "Which is more hedged: more may, might, often, it depends?",
    "warmth": "Which is warmer: kinder, friendlier, more caring?",
    "humour": "Which is more playful, light-hearted, funny?",
    "concreteness": "Which is more concrete: things that one can see and touch, rather than ideas?",
    "address": "Which speaks more to the reader: you, your, do this?",
    "questions": "Which asks more questions?",
    "diversity": "Which has the more varied vocabulary, with less repetition?",
    "examples": "Which gives more examples, and says so?",
    "thrift": "Which has more to do with money: saving, costs, not wasting?",
    "health": "Which has more to do with health of body and mind?",
    "adventure": "Which has more to do with adventure: travel, exploring, daring, excitement?",
    "tradition": "Which has more to do with tradition: customs, religion, heritage, the past?",
    "community": "Which has more to do with community: people together, helping, society?",
    "ambition": "Which has more to do with ambition: success, achievement, career?",
    "nature": "Which has more to do with nature: animals, plants, landscape, weather?",
    "safety": "Which has more to do with safety: risks, protection, caution?",
}


def tables(found: dict[Set, NDArray[np.float64]], seconds: dict[Set, float], count: int) -> None:
    """Per property: the share of texts at the lowest value in each set, and correlations between the sets."""
    print(
        "| property | at the lowest: truth, reading, held out | truth·reading | truth·held out | reading·held out |\n|---|---|---|---|---|"
    )
    for column, name in enumerate(PROPERTIES):
        values = [found[which][:, column] for which in SETS]
        lowest = ", ".join(f"{np.mean(value <= value.min() + 1e-9):.0%}" for value in values)
        pairs = (np.corrcoef(values[a], values[b])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2)))
        print(f"| {name} | {lowest} | " + " | ".join(f"{value:.2f}" for value in pairs) + " |")
    print({which: f"{1000 * took / count:.2f} ms per text" for which, took in seconds.items()})


def write(found: dict[Set, NDArray[np.float64]]) -> None:
    """Mean and standard deviation, and what they were computed with."""
    lines = [
        "# Mean and standard deviation of each measurement on answers, by `python -m tests.benchmarks.scorers ANSWERS.jsonl --write`.",
        "# `revision` is a hash of the code and the lists that measured.",
    ]
    for which, values in found.items():
        lines += [f"{which}:", f"  revision: '{revision(which)}'"]
        for column, name in enumerate(PROPERTIES):
            mean, sd = (float(f"{value:.6g}") for value in (values[:, column].mean(), values[:, column].std()))
            lines.append(f"  {name}: {{mean: {mean}, sd: {sd}}}")
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert yaml.safe_load(FILE.read_text())["truth"]["length"]["sd"] > 0


def drawn(values: NDArray[np.float64], generator: random.Random) -> list[tuple[int, int]]:
    """Pairs of a text of the top tenth and one of the bottom tenth. Ties are broken by the draw."""
    order = sorted(range(len(values)), key=lambda row: (values[row], generator.random()))
    tenth = len(order) // 10
    return list(zip(generator.sample(order[-tenth:], PAIRS), generator.sample(order[:tenth], PAIRS), strict=True))


def shown(text: str) -> str:
    """A text as the sheet has it."""
    return text if len(text) <= 1200 else text[:600] + " […] " + text[-300:]


def sheet(found: dict[Set, NDArray[np.float64]], texts: list[str], place: Path, seed: int) -> None:
    """A blind forced choice, and its key in another file."""
    generator, lines, key = random.Random(seed), list[str](), dict[str, str]()
    scorers = [(which, name) for name in PROPERTIES for which in SETS]
    for number, (which, name) in enumerate(scorers):
        lines.append(f"\n# Scorer {number + 1}: {QUESTIONS[name]}\n")
        for pair, (high, low) in enumerate(drawn(found[which][:, PROPERTIES.index(name)], generator)):
            label, swapped = f"{number + 1}.{pair + 1}", generator.random() < 0.5
            key[label] = f"{'B' if swapped else 'A'} {which} {name}"
            for letter, row in zip("AB", (low, high) if swapped else (high, low), strict=True):
                words = f" ({len(texts[row].split())} words)" if name == "length" else ""
                lines.append(f"\n## {label} {letter}{words}\n\n<<<\n{shown(texts[row])}\n>>>")
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    place.with_suffix(".key.json").write_text(json.dumps(key, indent=1), encoding="utf-8")


def look(values: NDArray[np.float64], texts: list[str], seed: int) -> None:
    """The top, some of the top tenth, some of the bottom tenth."""
    generator = random.Random(seed)
    order = np.argsort(values)
    for title, rows in (("TOP", order[::-1][:3]), ("TOP TENTH", [high for high, _ in drawn(values, generator)][:12])):
        for row in rows:
            print(f"--- {title} {values[row]:.3f}: {' / '.join(texts[row][:420].split(chr(10)))}")
    for _, low in drawn(values, generator)[:8]:
        print(f"--- BOTTOM TENTH {values[low]:.3f}: {' / '.join(texts[low][:300].split(chr(10)))}")


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("answers", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--look", nargs=2, metavar=("SET", "PROPERTY"))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    texts = [json.loads(line)["text"] for line in given.answers.read_text(encoding="utf-8").splitlines()]
    if given.look:
        look(raw(given.look[0], texts)[:, PROPERTIES.index(given.look[1])], texts, given.seed)
        return
    found, seconds = dict[Set, NDArray[np.float64]](), dict[Set, float]()
    for which in SETS:
        raw(which, texts[:1])
        began = time.perf_counter()
        found[which] = raw(which, texts)
        seconds[which] = time.perf_counter() - began
    tables(found, seconds, len(texts))
    if given.write:
        write(found)
    if given.pairs:
        sheet(found, texts, given.pairs, given.seed)


if __name__ == "__main__":
    main()
