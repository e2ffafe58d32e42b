"""A few rows for a reader: who the person is, what was asked, both answers, how sure the label is.

    sample(store, 3)  ->  [{"persona": "…", "prompt": "…", "chosen": "…", "rejected": "…", "margin": 1.3, …}, …]

What models wrote is printed with control and direction characters made visible, so that it cannot move the cursor or disguise itself.
"""

import textwrap
from typing import Any

import polars as pl
import pyarrow as pa

from prefloom.flows.dataset import manifest, stages, tables
from prefloom.flows.dataset.described import appended
from prefloom.flows.dataset.store import Store
from prefloom.schemas.candidate import Candidate
from prefloom.schemas.errors import InputError, reason
from prefloom.schemas.label import Preference
from prefloom.schemas.persona import Persona
from prefloom.schemas.prompt import Prompt
from prefloom.schemas.texts import short, visible

LONGEST = 600  # characters of an answer that are shown
_WHOLE = "a whole dataset; `prefloom validate` says what is damaged, and building it again mends it"


def overview(store: Store) -> dict[str, Any]:
    """Name, fingerprint, and for each stage what it kept and rejected."""
    found = manifest.load(store)
    counts = {
        name: {"unit": stages.BY_NAME[name].unit, "kept": entry.kept, "rejected": sum(entry.rejected.values()), "reasons": entry.rejected}
        for name, entry in found.stages.items()
        if name in stages.BY_NAME
    }
    return {"dataset": store.url, "name": found.name, "fingerprint": found.fingerprint, "stages": counts}


def sample(store: Store, rows: int) -> list[dict[str, Any]]:
    """Preferences spread evenly over the table, with their texts. InputError if the tables are damaged."""
    try:
        return _sample(store, rows)
    except (KeyError, OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise InputError(store.url, found=f"tables that do not fit together ({reason(error)})", expected=_WHOLE) from None


def _sample(store: Store, rows: int) -> list[dict[str, Any]]:
    preferences = tables.read(store, "preferences/part-*.parquet", Preference)
    rows = min(rows, preferences.height)
    chosen = preferences.gather_every(max(1, preferences.height // max(1, rows))).head(rows)
    personas = _texts(store, "personas/part-*.parquet", Persona, "persona_id", "description")
    added = dict(appended(store).iter_rows())
    prompts = _texts(store, "prompts/part-*.parquet", Prompt, "prompt_id", "text")
    answers = _texts(store, "candidates/part-*.parquet", Candidate, "candidate_id", "text")
    models = _texts(store, "candidates/part-*.parquet", Candidate, "candidate_id", "model")
    return [
        {
            "persona": personas[row["persona_id"]],
            **({"appended": added[row["persona_id"]]} if added[row["persona_id"]] else {}),
            "prompt": prompts[row["prompt_id"]],
            "chosen": answers[row["chosen_id"]],
            "chosen_model": models[row["chosen_id"]],
            "rejected": answers[row["rejected_id"]],
            "rejected_model": models[row["rejected_id"]],
            "margin": row["margin"],
            "probability": row["probability"],
            "split": row["split"],
        }
        for row in chosen.iter_rows(named=True)
    ]


def text(report: dict[str, Any], width: int = 100) -> str:
    """The report of `show` as lines for a terminal."""
    lines = [f"{report['name']}-{report['fingerprint']}", ""]
    for name, stage in report["stages"].items():
        reasons = ", ".join(f"{n} {reason}" for reason, n in stage["reasons"].items())
        lines.append(f"  {name:<12}{stage['kept']:>9,} {stage['unit'] + 's kept':<14}{stage['rejected']:>8,} rejected  {reasons}".rstrip())
    for row in report["preferences"]:
        lines += ["", "-" * width, *_paragraph("persona", row["persona"], width)]
        lines += _paragraph("appended", row["appended"], width) if "appended" in row else []
        lines += _paragraph("prompt", row["prompt"], width)
        by = f"{visible(short(row['chosen_model'], 80))} over {visible(short(row['rejected_model'], 80))}"
        lines += [f"  {'label':<10}{by}, probability {row['probability']:.2f}, margin {row['margin']:.2f}, split {row['split']}"]
        lines += [*_paragraph("chosen", row["chosen"], width), *_paragraph("rejected", row["rejected"], width)]
    return "\n".join(lines)


def _paragraph(title: str, value: str, width: int) -> list[str]:
    shown = visible(short(value, LONGEST))
    lines = [part for line in shown.splitlines() for part in textwrap.wrap(line, width - 12) or [""]]
    return [f"  {title if i == 0 else '':<10}{line}" for i, line in enumerate(lines or [""])]


def _texts(store: Store, pattern: str, record: Any, key: str, value: str) -> dict[str, str]:
    return dict(tables.read(store, pattern, record, [key, value]).iter_rows())
