"""A reward model of some thousand random weights, made on the spot: a Llama with one output, and a tokenizer of single characters."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

TURNS = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"


def make(folder: Path, outputs: int = 1, chat: bool = True) -> Path:
    """Weights and tokenizer in the folder."""
    torch.manual_seed(3)
    signs = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {sign: place for place, sign in enumerate(["<pad>", "<unk>", *signs])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    if chat:
        fast.chat_template = TURNS
    fast.save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(
        vocab_size=len(vocabulary), max_position_embeddings=512, pad_token_id=0, num_labels=outputs, initializer_range=0.3, **size
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder
