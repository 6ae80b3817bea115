"""Load the tokenizer of a model folder."""

from functools import lru_cache
from pathlib import Path

from crosscoder.lm.loading.folders import stamp_folder
from crosscoder.lm.loading.quiet import silence_transformers
from crosscoder.lm.loading.view import open_view
from crosscoder.lm.types import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds a whole tokenizer, and not only a chat template."""
    if not (folder / "tokenizer_config.json").exists():
        return False
    return any((folder / file).exists() for file in TOKENIZER_FILES)


def read_tokenizer(folder: Path, weights: Path, refusal: str) -> Tokenizer:
    """Load a tokenizer, or return the one that was loaded before; callers copy it to change it.

    Args:
        folder: The folder of the tokenizer.
        weights: The folder of the model, whose config.json names the kind of tokenizer.
        refusal: The beginning of error messages, e.g. "no tokenizer for 'x'".

    Raises:
        UserError: The folder holds no tokenizer that works.
    """
    return _load(folder, weights, stamp_folder(folder), refusal)


@lru_cache(maxsize=2)
def _load(folder: Path, weights: Path, stamp: tuple, refusal: str) -> Tokenizer:
    from transformers import AutoTokenizer

    silence_transformers()
    with open_view(folder, refusal, model=weights) as view:
        tokenizer = AutoTokenizer.from_pretrained(
            view, local_files_only=True, trust_remote_code=False
        )
        _require_known_ids(tokenizer)
    tokenizer.name_or_path = str(folder)
    return tokenizer


def _require_known_ids(tokenizer: Tokenizer) -> None:
    """Use a tokenizer once, because some of its settings are not read before that."""
    ids = tokenizer("Hello  world", add_special_tokens=False)["input_ids"]
    known = set(tokenizer.get_vocab().values())
    special = [
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        *tokenizer.all_special_ids,
    ]
    for number in (*ids, *special):
        if number is not None and number not in known:
            raise ValueError(f"it produces the id {number!r}, which is not in its vocabulary")
