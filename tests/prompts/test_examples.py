"""Few-shot prompts, byte for byte. The files in golden/ are what the documented layout says, trailing spaces and all."""

from pathlib import Path

import pytest

from prefloom.prompts.examples import completion, prompt, shot
from prefloom.schemas.exports import Mode

GOLDEN = Path(__file__).parent / "golden"
SHOTS = [("Why is the sky blue?", "Because of the air.\n", " It just is."), ("  Who are you?", "A friend.", "Nobody.")]
PERSONA = "A retired nurse.\n"


def rendered(mode: Mode, teacher_forced: bool = False) -> str:
    """A whole example: the prompt, then the chosen and the rejected completion."""
    told = PERSONA if mode.endswith("described") else None
    shots = [] if mode == "zero" else [shot(mode, *texts) for texts in SHOTS]
    said = prompt(mode, shots, "What is rain?", told if teacher_forced else None)
    good, bad = (completion(mode, text, None if teacher_forced else told) for text in ("Water.", "Wet."))
    return f"{said}[chosen]\n{good}[rejected]\n{bad}"


@pytest.mark.parametrize("mode", ["zero", "losers", "preferred", "losers_described", "preferred_described"])
def test_the_bytes_of_each_mode(mode: Mode) -> None:
    assert rendered(mode).encode() == (GOLDEN / f"{mode}.txt").read_bytes()


def test_the_bytes_of_a_teacher_forced_prompt() -> None:
    assert rendered("losers_described", teacher_forced=True).encode() == (GOLDEN / "teacher_forced.txt").read_bytes()


def test_headings_end_in_a_space_where_they_should() -> None:
    lines = [line for line in rendered("losers_described").splitlines() if line.startswith("#")]
    spaced = {line for line in lines if line.endswith(" ")}
    assert spaced == {"## Question ", "## Preferred Response ", "## Dispreferred Response "}
    assert {line for line in lines if not line.endswith(" ")} == {"# Example 1", "# Example 2", "# Task", "## User Description"}


def test_a_template_in_a_text_is_text() -> None:
    assert "{{ 1 + 1 }}" in prompt("losers", [shot("losers", "{{ 1 + 1 }}", "a", "b")], "c")
