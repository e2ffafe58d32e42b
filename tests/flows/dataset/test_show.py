"""What a reader sees is readable, and cannot do anything to the terminal."""

from pathlib import Path

from prefloom.flows.dataset.show import overview, sample, text
from prefloom.flows.dataset.store import Store
from prefloom.schemas.texts import visible


def test_rows_carry_their_texts(small: Path) -> None:
    store = Store(str(small))
    rows = sample(store, 4)
    assert len(rows) == 4
    assert all(row["chosen"] and row["rejected"] and row["persona"] and row["prompt"] and row["margin"] > 0 for row in rows)
    shown = text(overview(store) | {"preferences": rows})
    assert rows[0]["persona"].split()[0] in shown
    assert "judgements" in shown
    assert max(map(len, shown.splitlines())) <= 140


def test_hostile_characters_are_made_visible() -> None:
    assert visible("a\x1b[2Jb\x07\r\u202e\u200bc\nd") == "a\\x1b[2Jb\\x07\\r\\u202e\\u200bc\nd"
    row = dict.fromkeys(("persona", "prompt", "chosen", "rejected", "chosen_model", "rejected_model"), "\x1b]0;owned\x07" + "x" * 5000)
    report = {
        "name": "n",
        "fingerprint": "f",
        "stages": {},
        "preferences": [
            {**row, "margin": 1.0, "probability": 0.7, "p_generic": None, "split": "train", "voters": 4, "minority_share": 0.25}
        ],
    }
    shown = text(report)
    assert "\x1b" not in shown
    assert "… (5,010" in shown
