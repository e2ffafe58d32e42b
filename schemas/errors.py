"""What the user can mend: one exception that says where, what was found and what was expected.

The command line prints it without a traceback and exits with 2; every other exception is a fault of ours and keeps its traceback.

    raise InputError("prompts.jsonl", "line 3, field text", found="nothing", expected="a string")
    -> prompts.jsonl: line 3, field text: found nothing; expected a string
    raise InputError.of(OSError(errno.ENOSPC, …, "data/runs/…/run.json"))
    -> data/runs/…/run.json: found no space left on device; expected room on the disk; …
"""

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any, Self

from prefloom.schemas.texts import short

_NAMED = 20  # names that a message lists
_ROOM = "room on the disk; the same command goes on from here"
_FILE = "a file"
_FOLDER = "a folder that can be written to"
_RIGHTS = "a path that may be read and written"
# Faults of a disk, a path or a limit of the machine, and what is needed. Any other OSError is a fault of ours.
_NEEDED = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _FOLDER,
    errno.ENOTDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.EISDIR: _FILE,
    errno.ELOOP: "a path without a circle of links",
    errno.ENAMETOOLONG: "a shorter path",
    errno.EMFILE: "fewer open files: lower run.workers, or raise `ulimit -n`",
    errno.ENFILE: "fewer open files on this machine",
    errno.EIO: "a disk that can be read and written",
    errno.ESTALE: "a disk that stays mounted",
}


class InputError(Exception):
    """Bad input from the user: `where` is a file or argument, `field` the place inside it. Long values are cut."""

    def __init__(self, where: str, field: str = "", *, found: str, expected: str = "") -> None:
        self.where, self.field, self.found, self.expected = where, field, found, expected
        place = f"{short(where, 1000)}: {short(field)}" if field else short(where, 1000)
        wish = f"; {expected}" if expected.startswith("did you mean") else f"; expected {expected}" if expected else ""
        super().__init__(f"{place}: found {short(found)}{short(wish, 1000)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self.where, self.field, found=self.found, expected=self.expected), ()  # it crosses processes

    @classmethod
    def of(cls, error: OSError, where: str = "") -> Self | None:
        """What a disk or a path refused, with its name; None for a fault of ours."""
        if error.errno not in _NEEDED:
            return None
        name = error.filename if error.filename is not None else where or "the disk"
        return cls(os.fsdecode(name) if isinstance(name, bytes) else str(name), found=reason(error), expected=_NEEDED[error.errno])


def reason(error: Exception) -> str:
    """What went wrong, in one line and lower case."""
    return (getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__).lower()


def nearest(name: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or the valid names where nothing is near."""
    names = sorted(short(choice, 80) for choice in valid)
    close = get_close_matches(short(name, 80), names, n=1)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(names[:_NAMED])}{more}"
