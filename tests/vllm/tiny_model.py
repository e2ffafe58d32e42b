"""A Qwen3 of 0.2 million weights, made on the spot: enough to behave like a model and small enough for any test.

    .venv-vllm/bin/python tests/vllm/tiny_model.py FOLDER      # FOLDER/plain answers at once, FOLDER/thinking thinks first

A few hundred steps teach it three habits and nothing else: asked for one letter it says A or B and stops, asked for anything else it says
some words and stops, and it opens with <think> unless an empty thought stands there already. As with Qwen3, `enable_thinking: false` makes
the chat template put it there; the plain variant is the same weights with a template that always does. Which letter it says depends on all
it has read, by no rule: what matters to a test is that it differs between personas.
Needs torch, tokenizers and transformers, as the environment of `make test-vllm` has them.
"""

import random
import re
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).parents[2]
LONGEST = 4096
STEPS = 400
SHAPES = ((8, 128), (2, 768))  # rows and tokens of a step; every fourth is a long one
SPREAD = 1.5  # standard deviation of the log-odds of the two letters
SPECIAL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
UNLESS = "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
NO_THOUGHT = "<think>\n\n</think>\n\n{% endif %}"
TEMPLATES = {
    "plain": TURNS + OPENING + "{% if add_generation_prompt %}" + NO_THOUGHT,
    "thinking": TURNS + OPENING + UNLESS + NO_THOUGHT,
}


def corpus() -> list[str]:
    """What this repository says to models and about people."""
    files = [*sorted((ROOT / "prompts").rglob("*.md")), *sorted((ROOT / "data" / "seeds").iterdir())]
    return [line for file in files for line in file.read_text().splitlines() if line.strip()]


def tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level pairs: every text can be written, and a letter that stands alone is one token."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
    core.train_from_iterator([*lines, *["\n\n"] * 50], trainer)
    core.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])  # visible, as Qwen3's are
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|pad|>", model_max_length=LONGEST)
    made.chat_template = TEMPLATES["thinking"]
    return made


class Lessons:
    """Conversations to learn from."""

    def __init__(self, tok: PreTrainedTokenizerFast, lines: list[str]) -> None:
        self.tok, self.draw = tok, random.Random(0)
        self.words = sorted(set(re.findall(r"[a-z]{3,}", " ".join(lines))))
        # Of some wordings: what a model this small has read of one it says to every question of that wording.
        names = ("choice", "generic", "pairwise", "reader")
        tails = {(ROOT / "prompts" / "judge" / f"{name}.md").read_text().strip().splitlines()[-1] for name in names}
        self.tails = sorted(tails | {"Reply with one letter, A or B."})

    def some(self, fewest: int, most: int) -> str:
        return " ".join(self.draw.choices(self.words, k=self.draw.randint(fewest, most)))

    def one(self, longest: int) -> tuple[str, str]:
        """A rendered conversation up to the answer, and the answer."""
        judging, silent = self.draw.random() < 0.5, self.draw.random() < 0.5
        content = self.some(3, longest // 4) + "\n\n" + (self.draw.choice(self.tails) if judging else self.some(3, 12))
        messages = [{"role": "system", "content": self.some(3, 12)}, {"role": "user", "content": content}][self.draw.randint(0, 1) :]
        asked = self.tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=not silent)
        thought = f"<think>\n{self.some(1, 4)}\n</think>\n\n" if not silent else ""
        answer = self.draw.choice("AB") if judging else self.some(3, 8).capitalize() + "."
        return asked, f"{thought}{answer}<|im_end|>"

    def batch(self, rows: int, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids, and labels for the answers alone."""
        ids, labels = torch.zeros((rows, window), dtype=torch.long), torch.full((rows, window), -100)
        for row in range(rows):
            asked, answer = (self.tok.encode(text) for text in self.one(window // 2))
            tokens = (asked + answer)[-window:]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, max(0, len(tokens) - len(answer)) : len(tokens)] = torch.tensor(answer[-window:])
        return ids, labels


def teach(model: Qwen3ForCausalLM, lessons: Lessons) -> float:
    """Next-token training; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    for step in range(STEPS):
        ids, labels = lessons.batch(*SHAPES[step % 4 == 3])
        for group in optimizer.param_groups:
            group["lr"] = 8e-3 * min(1.0, (step + 1) / 20) * (1 - step / STEPS)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def part(model: Qwen3ForCausalLM, lessons: Lessons, letters: list[int]) -> None:
    """Let the odds of the letters follow what differs most between the states in which a letter is said; training leaves them even."""
    states = []
    while len(states) < 64:
        asked, answer = lessons.one(400)
        if answer[0] in "AB":
            states.append(model.model(torch.tensor([lessons.tok.encode(asked)])).last_hidden_state[0, -1])
    seen = torch.stack(states)
    middle = seen.mean(0)
    widest = torch.linalg.svd(seen - middle).Vh[0]
    apart = widest - (widest @ middle) / (middle @ middle) * middle  # no letter is favoured on the whole
    apart *= SPREAD / (seen @ apart).std()
    rows = model.lm_head.weight
    both = rows[letters].mean(0)
    rows[letters[0]], rows[letters[1]] = both + apart / 2, both - apart / 2


def make(folder: Path) -> None:
    """Train it and write both variants."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # matrices this small gain nothing from a second
    lines = corpus()
    tok = tokenizer(lines)
    letters = [tok.encode(letter) for letter in "AB"]
    assert [len(ids) for ids in letters] == [1, 1], letters
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=1024, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
            head_dim=32, max_position_embeddings=LONGEST, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id,
        )
    )  # fmt: skip
    lessons = Lessons(tok, lines)
    loss = teach(model, lessons)
    part(model, lessons, [ids[0] for ids in letters])
    for name, tok.chat_template in TEMPLATES.items():
        model.save_pretrained(folder / name)
        tok.save_pretrained(folder / name)
    print(f"{folder}: {sum(p.numel() for p in model.parameters()):,} weights, {len(tok)} tokens, last loss {loss:.2f}")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
