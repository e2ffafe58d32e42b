"""Texts to vectors: (n, dim) float16, for the same text the same bits whatever stands beside it, in whatever order.

    embedder = open_embedder(LocalEmbedder(engine="sentence-transformers"))      or an EndpointEmbedder, see embedder_endpoint.py
    embedder.identity                        ->  "sentence-transformers/all-MiniLM-L6-v2@3f0c…"      (no weights are loaded for this)
    embedder.encode(["How do I wrap …"])     ->  array of shape (1, 384)

How the bits stay put: `SentenceTransformer.encode` pads a batch to its longest text, and the padded length decides in which order numbers
are summed. Here a text is padded to a length that follows from its own tokens, and every batch of that length has the same number of rows,
the last one filled up with rows that are thrown away. Weights are safetensors; code that comes with a model is never run.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from prefloom.flows.dataset.embeddings import Batches, Half
from prefloom.flows.engines.weights import Weights, find_weights, missing_extra
from prefloom.schemas.embedder import EndpointEmbedder, LocalEmbedder
from prefloom.schemas.errors import InputError, reason

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LAYOUT = 1  # raise when lengths or rows change below: other shapes are other bits
_TOKENS = {"cpu": 512}  # padded tokens in one batch: on a CPU a last batch should cost little, and more is hardly faster …
_TOKENS_ELSEWHERE = 16_384  # … on an accelerator what keeps it busy
_GLANCE = 512  # texts tokenised at a time, for their lengths
_AT_A_TIME = 16  # batches of a thread that are handed over together, so that they can be stored and a build stopped in between
_ONE_AT_A_TIME = threading.RLock()  # loading sets names in modules, a tokenizer has a state, and a model that runs takes all cores


class Embedder(Protocol):
    """A model that embeds."""

    @property
    def identity(self) -> str:
        """Name and revision: whatever could make the same text get another vector."""

    @property
    def dimension(self) -> int:
        """Length of a vector. The model is loaded or asked to find out."""

    def stream(self, texts: Sequence[str]) -> Batches:
        """(indices of texts, their vectors) as they come, every index exactly once."""

    def encode(self, texts: Sequence[str]) -> Half:
        """(n, dim) vectors in the order of the texts."""


def open_embedder(section: LocalEmbedder | EndpointEmbedder) -> Embedder:
    """The embedder that a recipe names. InputError if its weights, its extra or its key are not there."""
    if isinstance(section, LocalEmbedder):
        return Local(find_weights(section.model, section.revision), section.device)
    from prefloom.flows.engines.embedder_endpoint import Endpoint

    return Endpoint(section)


def gather(embedder: Embedder, texts: Sequence[str]) -> Half:
    """What an embedder streams, in the order of the texts."""
    if not texts:
        return np.zeros((0, embedder.dimension), np.float16)
    batches = list(embedder.stream(texts))
    vectors = np.empty((len(texts), batches[0][1].shape[1]), np.float16)
    for indices, batch in batches:
        vectors[list(indices)] = batch
    return vectors


def padded_length(tokens: int, longest: int | None) -> int:
    """The length to which a text of so many tokens is padded: 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 320 and so on, at most `longest`.

    Few lengths: each has a last batch to fill up. Plain sorting by characters pads about as much.
    """
    step = 8
    while tokens > (4 if step < 64 else 16) * step:
        step *= 2
    padded = -(-max(tokens, 1) // step) * step
    return padded if longest is None else min(padded, longest)


class Local:
    """A sentence-transformers model in this process."""

    def __init__(self, weights: Weights, device: str | None = None) -> None:
        self._weights, self._device = weights, device
        self.identity = f"sentence-transformers/{weights.name}@{weights.digest(LAYOUT)}"

    @cached_property
    def model(self) -> "SentenceTransformer":
        """The model itself, loaded at first need."""
        with _ONE_AT_A_TIME:
            return _load(self._weights.folder, self._device)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self.model.get_embedding_dimension() or gather(self, [""]).shape[1])

    def encode(self, texts: Sequence[str]) -> Half:
        """(n, dim) vectors in the order of the texts."""
        return gather(self, texts)

    def stream(self, texts: Sequence[str]) -> Batches:
        """(indices of texts, their vectors), short texts first."""
        kind, places = self.model.device.type, self._by_length(texts)
        batches: list[tuple[int, int, list[int]]] = []
        for length, indices in sorted(places.items()):
            rows = max(1, _TOKENS.get(kind, _TOKENS_ELSEWHERE) // length)
            batches += [(length, rows, indices[start : start + rows]) for start in range(0, len(indices), rows)]
        with threads_for(kind) as pool:
            several = _AT_A_TIME * (_cores() if kind == "cpu" else 1)
            for start in range(0, len(batches), several):
                some = batches[start : start + several]
                with _ONE_AT_A_TIME:
                    features = (self._features([texts[at] for at in indices], length, rows) for length, rows, indices in some)
                    vectors = list(pool.map(self._forward, features))
                for (_, _, indices), found in zip(some, vectors, strict=True):
                    yield indices, found[: len(indices)]

    def _by_length(self, texts: Sequence[str]) -> dict[int, list[int]]:
        """Padded length -> indices of its texts."""
        model, places = self.model, dict[int, list[int]]()
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # equals together: little is padded for a glance
        for start in range(0, len(order), _GLANCE):
            some = order[start : start + _GLANCE]
            mask = model.preprocess([texts[index] for index in some], prompt=self._prompt)["attention_mask"]
            for index, count in zip(some, mask.sum(dim=1).tolist(), strict=True):
                places.setdefault(padded_length(count, model.max_seq_length), []).append(index)
        return places

    @property
    def _prompt(self) -> str | None:
        """What the model wants before every text."""
        model = self.model
        return model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None

    def _features(self, texts: list[str], length: int, rows: int) -> dict[str, Any]:
        """The batch as the model reads it. Not for many threads: a tokenizer keeps its padding as a state."""
        fixed: Any = {"text": {"padding": "max_length", "max_length": length}}
        return self.model.preprocess(texts + [""] * (rows - len(texts)), prompt=self._prompt, processing_kwargs=fixed)

    def _forward(self, features: dict[str, Any]) -> Half:
        import torch

        model = self.model
        with torch.inference_mode():
            placed = {name: value.to(model.device) if isinstance(value, torch.Tensor) else value for name, value in features.items()}
            vectors = model(placed)["sentence_embedding"][:, : model.truncate_dim]
        return np.asarray(vectors.float().cpu().numpy(), dtype=np.float16)


@contextmanager
def threads_for(kind: str) -> Iterator[ThreadPoolExecutor]:
    """Who computes the batches. On a CPU every core has a batch of its own: cores that share one wait for each other at every step."""
    import torch

    if kind != "cpu":
        with ThreadPoolExecutor(1) as pool:
            yield pool
        return
    cores = _cores()
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(cores)


@cache
def _cores() -> int:
    """As many as PyTorch took before anybody changed that."""
    import torch

    return int(torch.get_num_threads())


@lru_cache(maxsize=1)  # all shards share it
def _load(folder: Path, device: str | None) -> "SentenceTransformer":
    try:
        from sentence_transformers import SentenceTransformer

        logging: Any = import_module("transformers.utils.logging")  # untyped
    except ImportError as error:
        raise missing_extra(error) from None

    _cores()
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return SentenceTransformer(
            str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        ).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            str(folder), found=reason(error), expected="a sentence-transformers model whose code ships with that library"
        ) from error
    finally:
        if shown:
            logging.enable_progress_bar()
