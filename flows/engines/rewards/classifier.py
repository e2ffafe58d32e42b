"""A sequence classifier with one output in this process, by transformers: raw logits, for the same text the same whatever stands beside it.

    Classifier(TransformersReward(engine="transformers", model="./my-reward")).identity      ->  "transformers/my-reward@3f0c…"

A text is padded to a length that follows from its own tokens, and every batch of that length has the same number of rows (embedder.py says
why). Padding is on the right and masked. Weights are safetensors; code that comes with a model is never run.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from prefloom.flows.engines.embedder import padded_length, threads_for
from prefloom.flows.engines.protocol import Reply, Request
from prefloom.flows.engines.rewards import scored
from prefloom.flows.engines.weights import find_weights
from prefloom.schemas.errors import InputError, reason
from prefloom.schemas.ids import content_hash
from prefloom.schemas.rewards import TransformersReward

LAYOUT = 1  # raise when lengths, rows or the way a text is put together change below
_TOKENS = {"cpu": 512}  # padded tokens in one batch
_TOKENS_ELSEWHERE = 16_384
_AT_A_TIME = 32  # batches between two looks at whether to stop
_ONE_AT_A_TIME = threading.RLock()  # a tokenizer has a state, and a model that runs takes all cores


class Classifier:
    """A reward model as an engine."""

    free = True
    in_flight = 1
    votes = 0

    def __init__(self, section: TransformersReward) -> None:
        self._section = section
        local = Path(section.model).expanduser().is_dir()
        pinned = section.revision and not local
        name = Path(section.model).resolve().name if local else section.model
        what = section.revision if pinned else find_weights(section.model, section.revision).digest(LAYOUT)
        self.identity = f"transformers/{name}@{content_hash([what, section.template, section.max_tokens, section.dtype, LAYOUT], size=6)}"

    def answer(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[list[tuple[int, Reply]]]:
        """Scores in batches of like lengths, short texts first."""
        section = self._section
        weights = find_weights(section.model, section.revision)
        tokenizer, model = _load(weights.folder, section.dtype, section.device)
        kind = model.device.type
        with _ONE_AT_A_TIME:
            ids = [self._tokens(tokenizer, request) for request in requests]
        places: dict[int, list[int]] = {}
        for place in sorted(range(len(ids)), key=lambda place: (len(ids[place]), place)):
            places.setdefault(padded_length(len(ids[place]), section.max_tokens), []).append(place)
        batches: list[tuple[int, int, list[int]]] = []
        for length, indices in sorted(places.items()):
            rows = max(1, _TOKENS.get(kind, _TOKENS_ELSEWHERE) // length)
            batches += [(length, rows, indices[start : start + rows]) for start in range(0, len(indices), rows)]
        with threads_for(kind) as pool:
            for start in range(0, len(batches), _AT_A_TIME):
                if stop():
                    return
                some = batches[start : start + _AT_A_TIME]
                with _ONE_AT_A_TIME:
                    shaped = [(length, rows, [ids[place] for place in indices]) for length, rows, indices in some]
                    found = list(pool.map(lambda batch: _forward(model, tokenizer.pad_token_id, *batch), shaped))
                yield [
                    (place, scored(value, len(ids[place])))
                    for (_, _, indices), values in zip(some, found, strict=True)
                    for place, value in zip(indices, values, strict=False)
                ]

    def _tokens(self, tokenizer: Any, request: Request) -> list[int]:
        """The tokens of an exchange; of one that is too long the end."""
        texts = [content for _, content in request.messages]
        if self._section.template == "chat":
            if not tokenizer.chat_template:
                raise InputError(
                    "rewards.template", found=f"no chat template in the tokenizer of {self._section.model}", expected="template: plain"
                )
            messages = [{"role": role, "content": content} for role, content in request.messages]
            found = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
        else:
            found = tokenizer(*texts)["input_ids"]
        kept: list[int] = list(found)[-self._section.max_tokens :]
        return kept or [tokenizer.pad_token_id]


def _forward(model: Any, padding: int, length: int, rows: int, texts: list[list[int]]) -> list[float]:
    """Logits of a batch of exactly this shape; rows that fill it up are thrown away."""
    import torch

    filled = texts + [texts[0]] * (rows - len(texts))
    ids = torch.tensor([text + [padding] * (length - len(text)) for text in filled])
    mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in filled])
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    found: list[float] = logits[: len(texts), 0].float().cpu().tolist()
    return found


@lru_cache(maxsize=1)  # all shards share it; of several reward models each is loaded when its turn comes
def _load(folder: Path, dtype: str, device: str | None) -> tuple[Any, Any]:
    """(tokenizer, model), on the device."""
    try:
        import torch

        transformers: Any = import_module("transformers")
    except ImportError as error:
        wanted = "torch and transformers: pip install torch==2.13.0 'prefloom[embed]'"
        raise InputError("rewards", found=f"no module '{error.name}'", expected=wanted) from None
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    bars: Any = import_module("transformers.utils.logging")
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=getattr(torch, dtype)
        )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        model = model.to(place).eval()
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise InputError(str(folder), found=reason(error), expected="a sequence classifier whose code ships with transformers") from error
    finally:
        if shown:
            bars.enable_progress_bar()
    if model.config.num_labels != 1:
        raise InputError(str(folder), found=f"{model.config.num_labels} outputs", expected="one: a reward model")
    return tokenizer, model
