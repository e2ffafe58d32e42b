"""Every word said to a model: one Markdown file per template, strict variables, content hash.

    prompts/judge/pairwise.md       ---
                                    inputs: [persona, prompt, first, second]
                                    ---
                                    ## system
                                    …
                                    ## user
                                    … {{ prompt | fence("task") }} …

    load("judge/pairwise").render(persona="…", prompt="…", first="…", second="…")
    -> (("system", "…"), ("user", "…"))

A template is named by its path here without `.md`, or by the path of a file of your own that ends in `.md`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prefloom.flows.dataset.plain import load_yaml, read_file
from prefloom.prompts.fence import fence
from prefloom.schemas.errors import InputError, nearest
from prefloom.schemas.ids import content_hash

Messages = tuple[tuple[str, str], ...]
ROLES = ("system", "user", "assistant")


# Autoescape stays off: what is rendered goes to a model, not into a page. Values are never parsed as template syntax.
class _Sandbox(ImmutableSandboxedEnvironment):
    """A template cannot reach Python; neither can it fill the memory by one product or power."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        size = max(len(side) if isinstance(side, str | list | tuple) else 1 for side in (left, right))
        factor = max((abs(side) for side in (left, right) if isinstance(side, int)), default=1)
        if (size * factor > _LARGEST) if operator == "*" else (factor > 1000):
            raise SecurityError(f"a result of '{operator}' that is too large")
        return super().call_binop(context, operator, left, right)


_LARGEST = 1_000_000
_environment = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
_environment.filters["fence"] = fence


# What a template of the user's can do wrong while it is parsed or rendered.
_RENDERING = (TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError)


def _line(error: Exception) -> str:
    return str(error).split("\n")[0] or type(error).__name__


@dataclass(frozen=True)
class PromptTemplate:
    """A parsed template: for each message its role and its body."""

    reference: str
    inputs: frozenset[str]
    hash: str
    messages: tuple[tuple[str, Template | str], ...]

    def render(self, **values: str | None) -> Messages:
        """(role, content) per message. KeyError unless the values are exactly the template's inputs."""
        if values.keys() != self.inputs:
            raise KeyError(f"{self.reference} takes {sorted(self.inputs)}, not {sorted(values)}")
        try:
            return tuple([(role, body if isinstance(body, str) else body.render(values)) for role, body in self.messages])
        except _RENDERING as error:
            raise InputError(self.reference, found=_line(error), expected="a template that renders with its inputs") from None


@cache
def load(reference: str) -> PromptTemplate:
    """Read and check a template. InputError if it is missing, or if its declared and used variables differ."""
    text = _read(reference)
    if not text.startswith("---\n") or "\n---\n" not in text[4:]:
        raise InputError(reference, found="no front matter", expected="'---', inputs: [...], '---' at the top of the template")
    head, _, body = text[4:].partition("\n---\n")
    try:
        front = load_yaml(head, reference, "front matter") or {}
        declared = frozenset(map(str, front.get("inputs", [])))
        used = meta.find_undeclared_variables(_environment.parse(body))
        messages = tuple((role, _compile(part)) for role, part in _split(reference, body))
    except _RENDERING as error:
        place = f"line {error.lineno + head.count(chr(10)) + 3}" if isinstance(error, TemplateSyntaxError) else ""
        raise InputError(reference, place, found=_line(error), expected="YAML front matter and a Jinja body") from None
    if declared != used:
        raise InputError(reference, "inputs", found=f"declared {sorted(declared)}", expected=f"the variables used: {sorted(used)}")
    return PromptTemplate(reference, declared, content_hash(text), messages)


def _compile(body: str) -> Template | str:
    """A message without variables is rendered once and for all: half of what a judge is told never changes."""
    template = _environment.from_string(body)
    template.globals = dict(template.globals)  # jinja copies them at every rendering, out of its ChainMap slowly
    return template if meta.find_undeclared_variables(_environment.parse(body)) else template.render()


def expect_inputs(reference: str, inputs: frozenset[str]) -> PromptTemplate:
    """The template, if it takes exactly these inputs; InputError otherwise."""
    template = load(reference)
    if template.inputs != inputs:
        raise InputError(reference, "inputs", found=str(sorted(template.inputs)), expected=str(sorted(inputs)))
    return template


def inline(text: str, values: Mapping[str, str]) -> str:
    """Render a one-line template that stands in a recipe; InputError on a variable without a value or a value without use."""
    return filler(text, values)(values)


def filler(text: str, names: Iterable[str], listed: str = "values") -> Callable[[Mapping[str, str]], str]:
    """The same for many values, parsed once; `listed` is the key of the recipe under which the names stand."""
    try:
        used = meta.find_undeclared_variables(_environment.parse(text))
        if used != set(names):
            raise InputError("recipe", "text", found=f"variables {sorted(used)}", expected=f"those under {listed}: {sorted(names)}")
        template = _environment.from_string(text)
    except _RENDERING as error:
        raise _unfit(error) from None

    def fill(values: Mapping[str, str]) -> str:
        try:
            return template.render(values)
        except _RENDERING as error:
            raise _unfit(error) from None

    return fill


def _unfit(error: Exception) -> InputError:
    return InputError("recipe", "text", found=_line(error), expected="a Jinja template that renders with its values")


def _read(reference: str) -> str:
    folder = files("prefloom.prompts")
    mine = reference.endswith(".md")
    path = Path(reference) if mine else Path(str(folder / f"{reference}.md"))
    try:
        if mine and path.exists():
            return read_file(path).decode().replace("\r\n", "\n")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(reference, found="bytes that are not UTF-8", expected="a text file") from None
    except (OSError, ValueError):
        shipped = [f"{p.parent.name}/{p.stem}" for p in Path(str(folder)).glob("*/*.md")]
        raise InputError(reference, found="no such template", expected=nearest(reference, shipped)) from None


def _split(reference: str, body: str) -> list[tuple[str, str]]:
    """Messages are the parts under `## system`, `## user`, `## assistant`."""
    messages: list[tuple[str, list[str]]] = []
    for line in body.splitlines():
        if line.startswith("## ") and line[3:].strip() in ROLES:
            messages.append((line[3:].strip(), []))
        elif messages:
            messages[-1][1].append(line)
    if not messages:
        raise InputError(reference, found="no message", expected="a heading '## user' (or system, assistant) before each message")
    return [(role, "\n".join(lines).strip()) for role, lines in messages]
