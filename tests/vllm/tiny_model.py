"""A Qwen3 of 0.2 million weights, made on the spot: enough to behave like a model and small enough for any test.

    .venv-vllm/bin/python tests/vllm/tiny_model.py FOLDER              # answers at once
    .venv-vllm/bin/python tests/vllm/tiny_model.py FOLDER --thinking   # thinks first, unless enable_thinking is false

A few hundred steps teach it three habits and nothing else: asked for one letter it says A or B and stops, asked for anything else it says
some words and stops, and the thinking variant opens with <think>. Which letter it says depends on all it has read, by no rule: what matters
to a test is that personas differ. Needs torch, tokenizers and transformers, as the environment of `make test-vllm` has them.
"""

import argparse
import random
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parents[2]
LONGEST = 4096
STEPS, BATCH, WINDOW = 300, 16, 192
CONTRAST = 6.0  # how much further apart the two letters are than training leaves them
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
NO_THOUGHT = "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"


def corpus() -> list[str]:
    """What this repository says to models and about people."""
    files = [*sorted((ROOT / "prompts").rglob("*.md")), *sorted((ROOT / "data" / "seeds").iterdir())]
    return [line for file in files for line in file.read_text().splitlines() if line.strip()]


def tokenizer(lines: list[str], thinking: bool) -> PreTrainedTokenizerFast:
    """Byte-level pairs: every text can be written, and a letter that stands alone is one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([*lines, *["\n\n"] * 50], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>", model_max_length=LONGEST)
    made.chat_template = TURNS + OPENING + (NO_THOUGHT if thinking else "")
    return made


class Lessons:
    """Conversations to learn from."""

    def __init__(self, lines: list[str], thinking: bool) -> None:
        self.draw, self.thinking = random.Random(0), thinking
        self.words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(lines))))
        tails = {path.read_text().strip().splitlines()[-1] for path in (ROOT / "prompts" / "judge").glob("*.md")}
        self.tails = sorted(tails | {"Reply with one letter, A or B."})

    def some(self, fewest: int, most: int) -> str:
        return " ".join(self.draw.choices(self.words, k=self.draw.randint(fewest, most)))

    def one(self, tok: PreTrainedTokenizerFast) -> tuple[list[int], int]:
        """Token ids, and where the answer begins."""
        judging, silent = self.draw.random() < 0.5, self.draw.random() < 0.5
        content = f"{self.some(3, 40)}\n\n{self.draw.choice(self.tails) if judging else self.some(3, 12)}"
        messages = [{"role": "system", "content": self.some(3, 12)}, {"role": "user", "content": content}][self.draw.randint(0, 1) :]
        asked = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=not silent)
        thought = f"<think>\n{self.some(2, 10)}\n</think>\n\n" if self.thinking and not silent else ""
        answer = self.draw.choice("AB") if judging else self.some(3, 16).capitalize() + "."
        start = tok.encode(asked)
        return start + tok.encode(f"{thought}{answer}<|im_end|>"), len(start)


def teach(model: Qwen3ForCausalLM, tok: PreTrainedTokenizerFast, lessons: Lessons) -> float:
    """Next-token training on the answers alone; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    loss = torch.tensor(0.0)
    for step in range(STEPS):
        ids = torch.zeros((BATCH, WINDOW), dtype=torch.long)
        labels = torch.full((BATCH, WINDOW), -100)
        for row in range(BATCH):
            tokens, start = lessons.one(tok)
            tokens, start = tokens[-WINDOW:], max(0, start - max(0, len(tokens) - WINDOW))
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, start : len(tokens)] = torch.tensor(tokens[start:])
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * (1 - step / STEPS)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss)


def contrast(model: Qwen3ForCausalLM, first: int, second: int) -> None:
    """Move the rows of the two letters apart: both stay likely, and personas come to differ in which they say."""
    rows = model.lm_head.weight.data
    middle, apart = (rows[first] + rows[second]) / 2, (rows[first] - rows[second]) / 2
    rows[first], rows[second] = middle + CONTRAST * apart, middle - CONTRAST * apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--thinking", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    lines = corpus()
    tok = tokenizer(lines, arguments.thinking)
    letters = [tok.encode(letter) for letter in "AB"]
    assert [len(ids) for ids in letters] == [1, 1], letters
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
            head_dim=32, max_position_embeddings=LONGEST, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
        )
    )  # fmt: skip
    loss = teach(model, tok, Lessons(lines, arguments.thinking))
    contrast(model, letters[0][0], letters[1][0])
    model.save_pretrained(arguments.folder)
    tok.save_pretrained(arguments.folder)
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {len(tok)} tokens, last loss {loss:.2f}: {arguments.folder}")


if __name__ == "__main__":
    main()
