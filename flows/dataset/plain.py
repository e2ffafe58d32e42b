"""YAML and templates as people write them: read whole, from a regular file, with every fault named by its line.

    load_yaml(read_file(Path("mine.yaml")), "mine.yaml")  ->  mappings, lists, text and numbers

Keys given twice are refused, and so are aliases that make a small file a huge one or one that holds itself.
"""

import stat
from pathlib import Path
from typing import Any

import yaml

from prefloom.schemas.errors import InputError, reason

LARGEST = 4_000_000  # bytes of a recipe, a grid or a template
_NODES = 1_000_000  # values once every alias is written out


def expect_file(path: Path, where: str = "", field: str = "") -> None:
    """InputError unless it is a regular file that is there: a pipe or a device could keep us waiting for ever."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise InputError(where or str(path), field, found=f"{path}: {reason(error)}", expected="a file that can be read") from None
    if stat.S_ISREG(mode):
        return
    what = "the folder" if stat.S_ISDIR(mode) else "the named pipe" if stat.S_ISFIFO(mode) else "the device"
    raise InputError(where or str(path), field, found=f"{what} {path}", expected="a file")


def read_file(path: Path) -> bytes:
    """The bytes of a small file of the user's."""
    expect_file(path)
    if (size := path.stat().st_size) > LARGEST:
        raise InputError(str(path), found=f"{size:,} bytes", expected=f"at most {LARGEST:,}")
    return path.read_bytes()


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, where the standard loader keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{key}' twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        _weigh(node, {})
        return node


def load_yaml(text: str | bytes, where: str, field: str = "", expected: str = "valid YAML") -> Any:
    """What the YAML says; InputError names line and column of a fault."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        found = (problem or " ".join(str(error).split())).removeprefix("found ")
        raise InputError(where, ", ".join(filter(None, (field, place))), found=found, expected=expected) from None


def _weigh(node: Any, known: dict[int, int]) -> int:
    """Values below a node with its aliases written out; an error where they are too many, or where a value holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # open: whoever meets it now is inside it
        children = (child for item in node.value for child in (item if isinstance(item, tuple) else (item,)))
        known[id(node)] = 1 + sum(_weigh(child, known) for child in children)
    if not 0 < known[id(node)] <= _NODES:
        what = f"aliases that stand for more than {_NODES:,} values" if known[id(node)] else "an alias inside what it names"
        raise yaml.MarkedYAMLError(problem=what, problem_mark=node.start_mark)
    return known[id(node)]
