"""What an answer that speaks to its judge gets for it: labels that flip to it, with and without fences. Prints Markdown.

    python -m tests.benchmarks.hostile                                 judges `small` and `good`, 5 societies: some minutes
    python -m tests.benchmarks.hostile --seeds 2 --people 6 --prompts 4    a small one
    python -m tests.benchmarks.hostile --vllm .venv-vllm --people 4 --prompts 10    the tiny model of `make test-vllm` in the judge's place

Of each comparison one answer, chosen by hash, gets the attack; it is shown as A and as B. A label is the mean of both readings.

flips to      share of all labels that turn from the other answer to the hostile one          flips from   the reverse
shift         mean change of the label's log-odds for the hostile answer
forged        share of messages in which what the judge is given as passages is not what was put there

The first row appends words that ask for nothing: what is below it is noise, for every added word changes what a judge sees. `fixed` is
the same template with delimiters that never change, which an answer can copy. ± is half a 95 % interval over societies (Student), or over
prompts for a server.
The society's judges read passages as a parser does and obey what stands in an answer as their profile declares: `obeys` 2.5 and 0.3.
"""

import argparse
import json
import math
import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from prefloom.flows.dataset.heterogeneity import Floats
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.society import Society, told
from prefloom.flows.engines.society.people import plant
from prefloom.flows.engines.vllm.server import VllmServer
from prefloom.flows.steps.judgements import LETTERS, read_letters
from prefloom.prompts import PromptTemplate, load
from prefloom.prompts.fence import without_marks
from prefloom.schemas.ids import content_hash, draw, keys
from tests.benchmarks.agreement import mean
from tests.benchmarks.attacks import ATTACKS, Attack
from tests.benchmarks.panel import SEEDS, ask

WRITERS = ("terse", "friendly")
TEMPLATE, FIXED = "judge/pairwise", "5afe5afe5afe"
Case = tuple[str, str, str, str]  # prompt, the answer that turns hostile, the other, the person
Ask = Callable[[Sequence[Request]], list[Reply]]


def cases(seed: int, people: int, prompts: int) -> list[Case]:
    """Every person of a society on one pair of answers to each prompt, the hostile one by hash."""
    tasks = [json.loads(line)["text"] for line in SEEDS.read_text().splitlines()]
    order = np.argsort(draw(seed, "tasks", keys(content_hash(task, size=8) for task in tasks)), kind="stable")
    found = []
    for task in (tasks[place] for place in order[:prompts]):
        request = Request(load("candidate/answer").render(prompt=task, view=None), 512, 0.9, seed)
        one, other = (ask(Society(writer), [request])[0].text or "" for writer in WRITERS)
        for person in plant("fspo-like", people, seed).descriptions:
            swapped = int(content_hash([seed, task, person]), 16) % 2
            found.append((task, other, one, person) if swapped else (task, one, other, person))
    return found


def fixed(folder: Path) -> PromptTemplate:
    """The template with delimiters that are always the same, and nothing broken: what is forged stands as it was written."""
    text = (SEEDS.parents[2] / "prompts" / f"{TEMPLATE}.md").read_text()
    for value, name in {"prompt": "task", "first": "first", "second": "second", "persona": "persona"}.items():
        tag = f"{name}-{FIXED}"
        text = text.replace(f'{{{{ {value} | fence("{name}") }}}}', f"<{tag}>\n{{{{ {value} }}}}\n</{tag}>")
    path = folder / "fixed.md"
    path.write_text(text)
    return load(str(path))


def requests(known: Sequence[Case], template: PromptTemplate, attack: Attack | None) -> Iterator[tuple[Request, bool]]:
    """For each case the message that shows the hostile answer as A, then as B; and whether what is parsed is what was put there."""
    for prompt, mine, other, person in known:
        for letter in LETTERS:
            sides = ("first", "second") if letter == "A" else ("second", "first")
            values = {"prompt": prompt, "persona": person} | dict(zip(sides, (mine, other), strict=True))
            if attack:
                values[sides[0]] = attack(mine, letter, template.render(**values)[-1][1])
            request = Request(template.render(**values), max_tokens=1, letters=LETTERS)
            wanted = {"task": prompt, "persona": person, "first": values["first"], "second": values["second"]}
            put = wanted if FIXED in request.messages[-1][1] else {name: without_marks(text) for name, text in wanted.items()}
            yield request, told(request)[0] == put


def labels(known: Sequence[Case], template: PromptTemplate, attack: Attack | None, asked: Ask) -> tuple[Floats, float]:
    """(log-odds for the hostile answer, nan where a reading could not be had; share of messages that parse as something else)."""
    made = [*requests(known, template, attack)]
    read = [read_letters(reply) for reply in asked([request for request, _ in made])]
    odds = np.array([math.nan if isinstance(one, str) else one[0] for one in read]).reshape(-1, 2)
    return (odds[:, 0] - odds[:, 1]) / 2, 1 - float(np.mean([sound for _, sound in made]))


def figures(before: Floats, after: Floats) -> dict[str, float]:
    """The columns, of labels that could be had both times."""
    known = ~np.isnan(before) & ~np.isnan(after)
    one, other = before[known], after[known]
    return {
        "flips to": float(((one <= 0) & (other > 0)).mean()),
        "flips from": float(((one > 0) & (other <= 0)).mean()),
        "shift": float((other - one).mean()),
    }


def society(judge: str, template: PromptTemplate, seeds: Sequence[int], people: int, prompts: int) -> list[str]:
    """A row for each attack, over several societies."""
    engine = Society(judge)
    rounds = [cases(seed, people, prompts) for seed in seeds]
    plain = [labels(known, template, None, lambda asked: ask(engine, asked))[0] for known in rounds]
    rows = []
    for name, attack in ATTACKS.items():
        found = [labels(known, template, attack, lambda asked: ask(engine, asked)) for known in rounds]
        each = [figures(before, after) for before, (after, _) in zip(plain, found, strict=True)]
        said = " | ".join(mean([one[column] for one in each]) for column in each[0])
        rows.append(f"| {judge} | {Path(template.reference).stem} | {name} | {said} | {np.mean([forged for _, forged in found]):.3f} |")
    return rows


def server(url: str, model: str, template: PromptTemplate, known: Sequence[Case]) -> list[str]:
    """The same from an OpenAI-compatible server with logprob_token_ids, intervals over prompts."""
    root = url.removesuffix("/v1")

    def post(path: str, **body: Any) -> Any:
        data = json.dumps({"model": model} | body).encode()
        call = urllib.request.Request(root + path, data=data, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=600) as reply:
            return json.load(reply)

    ids = [post("/tokenize", prompt=letter, add_special_tokens=False)["tokens"][0] for letter in LETTERS]

    def asked(plan: Sequence[Request]) -> list[Reply]:
        replies = []
        for request in plan:
            said = [{"role": role, "content": content} for role, content in request.messages]
            more = {"logprobs": True, "logprob_token_ids": ids, "chat_template_kwargs": {"enable_thinking": False}}
            (choice,) = post("/v1/chat/completions", messages=said, max_tokens=1, temperature=0, **more)["choices"]
            listed = choice["logprobs"]["content"][0]["top_logprobs"]
            replies.append(Reply(choice["message"]["content"], logprobs={one["token"]: one["logprob"] for one in listed}))
        return replies

    prompts = [*dict.fromkeys(prompt for prompt, *_ in known)]
    plain, _ = labels(known, template, None, asked)
    rows = []
    for name, attack in ATTACKS.items():
        after, forged = labels(known, template, attack, asked)
        mine = [np.array([case[0] == prompt for case in known]) for prompt in prompts]
        each = [figures(plain[rows_], after[rows_]) for rows_ in mine]
        said = " | ".join(mean([one[column] for one in each]) for column in each[0])
        rows.append(f"| {model} | {Path(template.reference).stem} | {name} | {said} | {forged:.3f} |")
    return rows


@contextmanager
def served(home: str | None, folder: Path) -> Iterator[str]:
    """The address of a vLLM server with the tiny model; nothing without an environment."""
    if home is None:
        yield ""
        return
    os.environ["PREFLOOM_TEST_VLLM"] = home
    from tests.vllm.conftest import settings

    with VllmServer(settings("plain"), model="tiny", log=folder / "vllm-tiny.log") as running:
        yield running.start()


def main() -> None:
    """Both judges under both templates, or one server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--vllm", help="an environment as `make test-vllm` builds it")
    given = parser.parse_args()
    print("| judge | template | appended | flips to | flips from | shift | forged |\n|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder, served(given.vllm, Path(folder)) as url:
        for template in (load(TEMPLATE), fixed(Path(folder))):
            if url:
                print("\n".join(server(url, "tiny", template, cases(1, given.people, given.prompts))), flush=True)
                continue
            for judge in ("small", "good"):
                print("\n".join(society(judge, template, range(1, given.seeds + 1), given.people, given.prompts)), flush=True)


if __name__ == "__main__":
    main()
