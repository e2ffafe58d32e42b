"""Vectors are kept across runs: what was embedded once is read, whoever else writes beside, and damage is said, not read."""

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from prefloom.flows.dataset import embeddings as module
from prefloom.flows.dataset.embeddings import Batches, Vectors, text_key
from prefloom.schemas.errors import InputError

DIM = 4


def vector(text: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.frombuffer(text_key(text)[:DIM], np.uint8).astype(np.float16)


class Counting:
    """An embedder of two texts at a time that remembers what it was asked."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.asked: list[str] = []
        self.fails_after = fails_after

    def __call__(self, texts: list[str]) -> Batches:
        for start in range(0, len(texts), 2):
            if self.fails_after is not None and len(self.asked) >= self.fails_after:
                raise ConnectionError("gone")
            some = texts[start : start + 2]
            self.asked += some
            yield range(start, start + len(some)), np.stack([vector(text) for text in some])


def fill(root: Path, texts: list[str], embed: Callable[[list[str]], Batches], identity: str = "m@1") -> module.Filled:
    return Vectors(root, identity).fill(texts, embed)


def part(root: Path) -> Path:
    (path,) = (root / "m@1").glob("part-*.parquet")
    return path


def test_a_text_is_embedded_once_per_model(tmp_path: Path) -> None:
    texts, first, second, other = ["a", "b", "a", "c", "ä\u0000🦉"], Counting(), Counting(), Counting()
    filled = fill(tmp_path, texts, first)
    assert (filled.embedded, filled.held, sorted(first.asked)) == (4, 0, sorted(set(texts)))
    assert filled.vectors.dtype == np.float16
    assert (filled.vectors == np.stack([vector(text) for text in texts])).all()
    again = fill(tmp_path, [*texts[::-1], "d"], second)
    assert (again.embedded, again.held, second.asked) == (1, 4, ["d"])
    assert (again.vectors[:5] == filled.vectors[::-1]).all()
    assert fill(tmp_path, texts, other, "m@2").embedded == 4


def test_read_gives_what_is_there_and_names_what_is_not(tmp_path: Path) -> None:
    vectors = Vectors(tmp_path, "m@1")
    with pytest.raises(InputError, match="no vectors of 1 of 1 texts"):
        vectors.read(["a"])
    fill(tmp_path, ["a", "b"], Counting())
    assert (vectors.read(["b", "a", "b"]) == np.stack([vector("b"), vector("a"), vector("b")])).all()
    assert (vectors.read_keys([text_key("b")]) == vector("b")).all()
    with pytest.raises(InputError, match="no vectors of 1 of 2 texts"):
        vectors.read(["a", "x"])


def test_no_texts_are_no_vectors(tmp_path: Path) -> None:
    assert fill(tmp_path, [], Counting()).vectors.shape == (0, 0)


def test_what_came_before_a_failure_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        fill(tmp_path, list("abcdef"), Counting(fails_after=4))
    rest = Counting()
    assert fill(tmp_path, list("abcdef"), rest).held == 4
    assert rest.asked == ["e", "f"]


def test_many_small_files_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 4)
    texts = [f"text {n}" for n in range(12)]
    for text in texts:
        fill(tmp_path, [text], Counting())
    assert len(list((tmp_path / "m@1").glob("part-*"))) < 4
    assert fill(tmp_path, texts, Counting(fails_after=0)).held == 12


def test_an_older_file_counts(tmp_path: Path) -> None:
    fill(tmp_path, ["a"], Counting())
    path = part(tmp_path)
    newer = path.with_name("part-99999999999999999999-1-0001.parquet")
    with newer.open("wb") as file:
        module._write(file, [text_key("a")], np.zeros((1, DIM), np.float16), "m@1")
    assert (Vectors(tmp_path, "m@1").read(["a"])[0] == vector("a")).all()


@pytest.mark.parametrize("damage", ["torn", "empty", "rotten", "foreign", "no table"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    fill(tmp_path, [f"text {n}" for n in range(500)], Counting())
    path = part(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "torn":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "rotten":
        place = bytes(data).find(vector("text 7").tobytes())
        data[place] ^= 1
    elif damage == "no table":
        data = bytearray(b"PAR1 and then nothing of the kind PAR1")
    path.write_bytes(data)
    if damage == "foreign":
        path.rename((tmp_path / "m@2").with_suffix(".parquet"))
        fill(tmp_path, ["x"], Counting(), "m@2")
        (foreign,) = (tmp_path / "m@2").glob("part-*")
        foreign.rename(path)
    with pytest.raises(InputError) as caught:
        fill(tmp_path, [f"text {n}" for n in range(500)], Counting())
    assert path.name in str(caught.value)
    assert "move it away" in str(caught.value) or "'m@2'" in str(caught.value)
    path.unlink()
    assert fill(tmp_path, ["text 7"], Counting()).embedded == 1


def test_a_temporary_file_of_a_killed_writer_is_swept(tmp_path: Path) -> None:
    fill(tmp_path, ["a"], Counting())
    leftover = part(tmp_path).with_name("part-1.parquet.0123.tmp")
    leftover.write_bytes(b"half")
    fill(tmp_path, ["b"], Counting())
    assert not leftover.exists()


def test_a_vector_that_halves_cannot_hold_is_refused(tmp_path: Path) -> None:
    def infinite(texts: list[str]) -> Iterator[tuple[range, np.ndarray]]:  # type: ignore[type-arg]
        yield range(len(texts)), np.full((len(texts), DIM), np.inf, np.float16)

    with pytest.raises(InputError, match="finite"):
        fill(tmp_path, ["a"], infinite)
    assert fill(tmp_path, ["a"], Counting()).embedded == 1


def _in_a_process(root: Path, texts: list[str], asked: "multiprocessing.Queue[list[str]]") -> None:
    embed = Counting()
    for start in range(0, len(texts), 7):
        fill(root, texts[start : start + 7], embed)
    asked.put(embed.asked)


def test_two_processes_embed_nothing_twice(tmp_path: Path) -> None:
    context, texts = multiprocessing.get_context("spawn"), [f"text {n}" for n in range(70)]
    asked: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=_in_a_process, args=(tmp_path, texts[turn:] + texts[:turn], asked)) for turn in (0, 35)]
    for worker in workers:
        worker.start()
    both = asked.get(timeout=120) + asked.get(timeout=120)
    for worker in workers:
        worker.join()
    assert sorted(both) == sorted(texts)
    assert (Vectors(tmp_path, "m@1").read(texts) == np.stack([vector(text) for text in texts])).all()


def test_two_threads_embed_nothing_twice(tmp_path: Path) -> None:
    embed, texts = Counting(), [f"text {n}" for n in range(40)]
    threads = [threading.Thread(target=fill, args=(tmp_path, texts, embed)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(embed.asked) == sorted(texts)


def test_a_reader_beside_a_writer_that_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 3)
    texts, done = [f"text {n}" for n in range(60)], threading.Event()
    fill(tmp_path, texts[:1], Counting())

    def write() -> None:
        for text in texts:
            fill(tmp_path, [text], Counting())
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert (Vectors(tmp_path, "m@1").read(texts[:1])[0] == vector(texts[0])).all()
    writer.join()
    assert (Vectors(tmp_path, "m@1").read(texts) == np.stack([vector(text) for text in texts])).all()
