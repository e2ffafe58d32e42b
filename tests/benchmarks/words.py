"""Makes data/society/words.npz: vectors of common words, distilled from all-MiniLM-L6-v2. Needs the extra `embed`; half a minute.

python -m tests.benchmarks.words            writes the file
python -m tests.benchmarks.words river      shows the nearest words of what the file now holds
"""

import sys
from pathlib import Path

import numpy as np

from prefloom.flows.engines.embedder import open_embedder
from prefloom.flows.engines.scorers.words import DIMENSION, UNIT, word_vectors
from prefloom.flows.engines.weights import find_weights
from prefloom.schemas.embedder import LocalEmbedder

FILE = Path(__file__).parents[2] / "data" / "society" / "words.npz"
COUNT = 16_500


def make() -> None:
    """Words of the model's own vocabulary (a BERT vocabulary lists frequent words first), on their main axes, in 8 bits."""
    section = LocalEmbedder(engine="sentence-transformers")
    vocabulary = (find_weights(section.model, section.revision).folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = [word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 1][:COUNT]
    vectors = open_embedder(section).encode(words).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    strengths, axes = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    strengths, axes = strengths[::-1][:DIMENSION], axes[:, ::-1][:, :DIMENSION]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(DIMENSION)])  # an axis has no sign of its own
    vectors = vectors @ axes * strengths**-0.25  # the strongest directions say how common a word is more than what it means
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scale = np.ceil(np.abs(vectors).max(axis=0) / 127 / UNIT).astype(np.uint16)
    stored = np.rint(vectors / (scale * UNIT)).astype(np.int8)
    listed = np.frombuffer("\n".join(words).encode("ascii"), dtype=np.uint8)
    np.savez_compressed(FILE, words=listed, vectors=stored, scale=scale)
    print(f"{FILE.name}: {len(words)} words, {FILE.stat().st_size} bytes")


def show(word: str) -> None:
    """The nearest words."""
    index, vectors = word_vectors()
    words, near = list(index), vectors @ vectors[index[word]]
    print(word, "->", ", ".join(f"{words[row]} {near[row]:.2f}" for row in np.argsort(-near)[1:16]))


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        show(asked)
    if not sys.argv[1:]:
        make()
