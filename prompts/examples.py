r"""Few-shot prompts in the bytes of FSPO's loader: plain text under Markdown headings, no chat template, no end-of-text token.

    prompt("losers", [shot("losers", "Why?", "Because.", "No idea.")], "Who?")

    # Example 1
    ## Question ␠                  ␠ is a space: the four headings of questions and answers end in one, the others do not
    Why?
    ## Preferred Response ␠
    Because.
    ## Dispreferred Response ␠
    No idea.

    # Task
    (the sentence in prompts/fewshot/losers.md)
    ## Question ␠
    Who?

    completion("losers", "Me.")  ->  "## Preferred Response \nMe.\n"

The sentences are our own. A described mode has the person's description first in the completion or, teacher-forced, last in the prompt.
Texts are not fenced: this is what a model is trained on, and one that imitates a heading harms the example it stands in alone.
"""

from collections.abc import Iterable

from prefloom.prompts import load
from prefloom.schemas.exports import Mode

QUESTION, PREFERRED, DISPREFERRED = "## Question ", "## Preferred Response ", "## Dispreferred Response "
RESPONSE, DESCRIPTION = "## Response ", "## User Description"


def shot(mode: Mode, question: str, chosen: str, rejected: str) -> str:
    """One example without its number; those of the `preferred` modes leave out the loser."""
    answers = ((RESPONSE, chosen),) if _preferred_only(mode) else ((PREFERRED, chosen), (DISPREFERRED, rejected))
    return "".join(_block(heading, text) for heading, text in ((QUESTION, question), *answers)) + "\n"


def prompt(mode: Mode, shots: Iterable[str], question: str, description: str | None = None) -> str:
    """Numbered shots, the task, the question, and the description that a teacher-forced prompt ends with."""
    examples = "".join(f"# Example {number}\n{text}" for number, text in enumerate(shots, 1))
    task = load(f"fewshot/{mode}").render()[0][1]
    told = "" if description is None else _block(DESCRIPTION, description)
    return f"{examples}# Task\n{task}\n{_block(QUESTION, question)}{told}"


def completion(mode: Mode, answer: str, description: str | None = None) -> str:
    """What a model is to write: the answer under its heading, after the description if there is one."""
    told = "" if description is None else _block(DESCRIPTION, description)
    return told + _block(RESPONSE if _preferred_only(mode) else PREFERRED, answer)


def _preferred_only(mode: Mode) -> bool:
    return mode.startswith("preferred")


def _block(heading: str, text: str) -> str:
    return f"{heading}\n{text.strip()}\n"
