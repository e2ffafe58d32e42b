"""A sentence-transformers model of a few kilobytes, made on the spot: random weights, one word one token."""

from pathlib import Path

SPOKEN = "a the who what how why tell me about cats dogs wrapping presents cooking rice slowly and then or else more less"
WORDS = SPOKEN.split(" ")


def make(folder: Path, hidden: int = 32) -> Path:
    """Write the model to `folder`."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64).save_pretrained(
        folder / "b"
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "b")
    transformer = Transformer(str(folder / "b"))
    SentenceTransformer(modules=[transformer, Pooling(hidden)], device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"
