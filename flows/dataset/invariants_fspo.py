"""What must hold of the exports for FSPO: both layouts show the preferences, and the few-shot examples are their texts to the last byte.

fspo(store, recipe)  ->  Check("fspo", "every preference stands once in both layouts …", problems=[])

The bytes of an example are stated here again (docs/exports.md shows them). The sentence of its task is the one thing that no id explains:
it is taken from the first example, and has to be one line and the same in all.
"""

from typing import Any

import polars as pl

from prefloom.flows.dataset.invariants import Check
from prefloom.flows.dataset.invariants_known import PAIR, Known, said, stream
from prefloom.flows.dataset.store import Store
from prefloom.schemas.exports import FewShot
from prefloom.schemas.recipe import Recipe

EXAMPLES = 4096  # looked at together: each repeats the texts of its shots
TEXTS = ["asked", "good", "bad", "persona_text", "bad_text"]


def fspo(store: Store, recipe: Recipe) -> Check:
    """Both layouts, and the few-shot examples."""
    check = Check(
        "fspo", "every preference stands once in both layouts, its winner first in half of the rows; examples are their ids' texts"
    )
    known, few_shot = Known(store), recipe.exports.fspo and recipe.exports.fspo.few_shot
    examples = few_shot and Examples(check, known, few_shot)
    for place, name in enumerate(known.names):
        preferences = known.shard(name)
        account = said(store, f"exports/fspo/accounting-{place:05d}.json") if few_shot else {}
        for (split, *_), mine in preferences.partition_by("split", as_dict=True).items():
            part = f"{split}/part-{place:05d}.parquet"
            _roleplay(check, known, f"exports/fspo/roleplay/{part}", mine)
            _pairs(check, known, f"exports/fspo/pairs/{part}", mine)
            if examples:
                examples.look(part, mine, account.get(str(split), {}))
    return check


def _roleplay(check: Check, known: Known, name: str, mine: pl.DataFrame) -> None:
    seen = []
    who = pl.col("score_persona").struct
    for rows in stream(known.store, name):
        told = known.told(rows.with_columns(who.field("persona_uuid").alias("persona_id")), mine)
        right = (pl.col("x") == pl.col("asked")) & (pl.col("yw") == pl.col("good")) & (pl.col("yl") == pl.col("bad"))
        broken = {
            "differ from their preference": ~right,
            "have another level": pl.col("level") != pl.col("persona_level"),
            "describe another persona": who.field("persona_description") != pl.col("persona_text"),
        }
        check.refuse(told, {f"rows of {name} {problem}": rule for problem, rule in broken.items()})
        seen.append(told.select(PAIR))
    _complete(check, name, seen, mine)


def _pairs(check: Check, known: Known, name: str, mine: pl.DataFrame) -> None:
    seen, ones = [], 0
    first = pl.col("label") == 0

    def differs(column: str, what: str) -> pl.Expr:
        x, y = (
            pl.when(first).then(side).otherwise(other) for side, other in ((f"good{what}", f"bad{what}"), (f"bad{what}", f"good{what}"))
        )
        return pl.col(f"{column}_x").ne_missing(x) | pl.col(f"{column}_y").ne_missing(y)

    scorer = (pl.col("scorer_level") != pl.col("persona_level")) | (pl.col("scorer_level_id") != pl.col("persona_number"))
    broken = {
        "differ from their preference": (pl.col("prompt") != pl.col("asked")) | differs("response", ""),
        "have another det_choice": pl.col("det_choice") != pl.col("label"),
        "have another scorer_level": scorer,
        "have a level of another answer": differs("level", "_level") | differs("level_id", "_number"),
        "have a model_name of another answer": differs("model_name", "_model"),
    }
    for rows in stream(known.store, name):
        told = known.told(rows, mine)
        check.refuse(told, {f"rows of {name} {problem}": rule for problem, rule in broken.items()})
        seen.append(told.select(PAIR))
        ones += int(rows["label"].sum())
    _complete(check, name, seen, mine)
    check.expect(abs(2 * ones - mine.height) <= 1, f"{name} has the winner second in {ones} of {mine.height} rows")


def _complete(check: Check, name: str, seen: list[pl.DataFrame], mine: pl.DataFrame) -> None:
    """Whether the rows seen are the preferences, each once."""
    found = pl.concat([mine.select(PAIR).clear(), *seen]).sort(PAIR)
    check.expect(found.equals(mine.select(PAIR).sort(PAIR)), f"{name} has {found.height} rows for {mine.height} preferences, or not those")


class Examples:
    """The few-shot examples of a run, one part of both tables after the other."""

    def __init__(self, check: Check, known: Known, settings: FewShot) -> None:
        self.check, self.known, self.settings = check, known, settings
        self.task: str | None = None

    def look(self, part: str, mine: pl.DataFrame, account: dict[str, Any]) -> None:
        """Both tables of a part: what is in them, and that they are of the same examples."""
        check, settings = self.check, self.settings
        left = sum(account.get("left_out", {"none": 0}).values())
        closed = account.get("preferences") == mine.height == account.get("examples", 0) + left
        check.expect(closed, f"the account of {part} is not closed: {account} for {mine.height} preferences")
        ipo, shown = self._table(f"exports/fspo/ipo/{part}", mine, ["chosen", "rejected"])
        sft, _ = self._table(f"exports/fspo/sft/{part}", mine, ["completion"])
        counted = (account.get("examples"), account.get("shots"))
        check.expect(
            counted == (ipo.height, shown),
            f"exports/fspo/ipo/{part} has {ipo.height} examples with {shown} shots, its account says {counted}",
        )
        check.expect(not ipo.select(PAIR).is_duplicated().any(), f"exports/fspo/ipo/{part} has an example twice")
        first = ipo.with_columns(pl.lit("good").alias("side"))
        due = pl.concat([first, ipo]) if settings.targets == "both" else first
        check.expect(
            sft.sort(pl.all()).equals(due.sort(pl.all())),
            f"exports/fspo/sft/{part} is not of the same examples and answers as exports/fspo/ipo/{part}",
        )

    def _table(self, name: str, mine: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, int]:
        """(ids of each example, its shots in a hash, and which answer it shows if it is one; how many shots there are)."""
        check, prompts = self.check, mine.select(*PAIR, "prompt_id")
        seen, shown = [pl.DataFrame(schema={**dict.fromkeys(PAIR, pl.String), "shots": pl.UInt64, "side": pl.String})], 0
        for rows in stream(self.known.store, name, EXAMPLES):
            pairs = rows.select(*PAIR, "shots").explode("shots").drop_nulls("shots")
            theirs = prompts.rename({"comparison_id": "shots", "prompt_id": "shot_prompt"})
            named = pairs.join(prompts, on=PAIR, how="left").join(theirs, on=["persona_id", "shots"], how="left")
            check.refuse(
                named, {f"shots of {name} are of the question's prompt, or of nobody": pl.col("shot_prompt") == pl.col("prompt_id")}
            )
            check.expect(not named.select(*PAIR, "shot_prompt").is_duplicated().any(), f"{name} has two shots of one prompt")
            many = rows.filter(pl.col("shots").list.len() > self.settings.shots).height
            check.expect(many == 0, f"{many} rows of {name} have more shots than the recipe")
            wanted = pl.concat([rows.select(PAIR), pairs.select("persona_id", pl.col("shots").alias("comparison_id"))]).unique()
            told = self.known.told(wanted, mine).drop_nulls("asked")
            texts = {(row[0], row[1]): row[2:] for row in told.select(*PAIR, *TEXTS).iter_rows()}
            sides = [self.side(texts, row[:3], row[3], row[4:]) for row in rows.select(*PAIR, "shots", "prompt", *columns).iter_rows()]
            wrong = sides.count(None)
            check.expect(wrong == 0, f"{wrong} rows of {name} differ from their preference and shots, or have text that no id explains")
            ids = rows.select(*PAIR, pl.col("shots").list.join(",").hash())
            seen.append(ids.with_columns(pl.Series("side", sides, pl.String)))
            shown += pairs.height
        return pl.concat(seen), shown

    def side(self, texts: dict[Any, Any], named: tuple[Any, ...], prompt: str, answers: tuple[str, ...]) -> str | None:
        """Which answer an example shows last ("good" where both read alike), or None if it is not in the bytes of its ids' texts."""
        persona, comparison, shots = named
        about = [texts[persona, name] for name in (*shots, comparison) if (persona, name) in texts]
        if len(about) <= len(shots) or not all(isinstance(text, str) for text in (prompt, *answers)):
            return None
        *examples, (asked, good, bad, own, others) = about
        mode = self.settings.mode
        described, forced = mode.endswith("described"), self.settings.teacher_forced
        liked = "Response" if mode.startswith("preferred") else "Preferred Response"
        head = ""
        for number, (question, better, worse, _, _) in enumerate(examples, 1):
            loser = "" if mode.startswith("preferred") else f"## Dispreferred Response \n{worse.strip()}\n"
            head += f"# Example {number}\n## Question \n{question.strip()}\n## {liked} \n{better.strip()}\n{loser}\n"
        head += "# Task\n"
        tail = f"\n## Question \n{asked.strip()}\n" + (f"## User Description\n{own.strip()}\n" if described and forced else "")
        if self.task is None and prompt.startswith(head) and prompt.endswith(tail):
            self.task = prompt[len(head) : -len(tail)]
        if prompt != f"{head}{self.task}{tail}" or "\n" in (self.task or "\n"):
            return None
        due = {}
        for side, answer, who in (("good", good, own), ("bad", bad, own if others is None else others)):
            told = f"## User Description\n{who.strip()}\n" if described and not forced else ""
            due[side] = f"{told}## {liked} \n{answer.strip()}\n"
        if len(answers) == 2:
            return ("bad" if due["good"] != due["bad"] else "good") if answers == (due["good"], due["bad"]) else None
        return next((side for side, text in due.items() if answers == (text,)), None)
