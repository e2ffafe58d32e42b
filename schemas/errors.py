"""What the user can mend: one exception that says where, what was found and what was expected.

The command line prints it without a traceback and exits with 2; every other exception is a fault of ours and keeps its traceback.

    raise InputError("prompts.jsonl", "line 3, field text", found="nothing", expected="a string")
    -> prompts.jsonl: line 3, field text: found nothing; expected a string
"""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Bad input from the user: `where` is a file or argument, `field` the place inside it."""

    def __init__(self, where: str, field: str = "", *, found: str, expected: str = "") -> None:
        self.where, self.field, self.found, self.expected = where, field, found, expected
        place = f"{where}: {field}" if field else where
        wish = f"; {expected}" if expected.startswith("did you mean") else f"; expected {expected}" if expected else ""
        super().__init__(f"{place}: found {found}{wish}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or the valid names where nothing is near."""
    names = sorted(valid)
    close = get_close_matches(name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(names)}"
