"""Language models: where their weights are, how they become a model in memory, what identifies them."""

import contextlib
import copy
import hashlib
import logging
import warnings
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from crosscoder.errors import UserError
from crosscoder.hub import snapshot
from crosscoder.lm import pinned

log = logging.getLogger(__name__)
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()

PROJECT = Path(__file__).parents[2]
WEIGHT_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model"]  # never pickles, never code
# transformers would ask on the terminal whether to run code that a config.json names
AS_IT_IS = {"local_files_only": True, "trust_remote_code": False}


def resolve(name: str) -> Path:
    """The local folder of `pinned:NAME`, a local path (from here, or from the project's root) or a hub id."""
    if name.startswith("pinned:"):
        return pinned.folder(name.removeprefix("pinned:"))
    for path in (Path(name).expanduser(), PROJECT / name):
        if path.is_dir():
            return path
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(f"no model at '{name}': no such folder, and not a hub id (owner/name)")
    return snapshot(name, WEIGHT_FILES)


@dataclass(frozen=True)
class LM:
    """One language model by name: its weights, and a LoRA adapter to merge into them, if any.

    `weights` and `adapter` are each a local folder, a hub id, or (weights) `pinned:NAME`.
    """

    weights: str
    adapter: str | None = None

    def load(self, dtype: torch.dtype = torch.bfloat16, device: str | torch.device = "cpu") -> PreTrainedModel:
        """The model in eval mode without gradients. An adapter is merged in fp32, then everything is cast."""
        folder = resolve(self.weights)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32 if self.adapter else dtype, use_safetensors=True, **AS_IT_IS
            )
        except (OSError, ValueError) as error:
            raise UserError(f"cannot load '{self.weights}': {str(error).splitlines()[0]}") from error
        if self.adapter:
            from peft import PeftModel

            try:
                with warnings.catch_warnings():  # peft asks transformers for an old name
                    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
                    model = PeftModel.from_pretrained(model, resolve(self.adapter)).merge_and_unload()
            except (OSError, ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"adapter '{self.adapter}' does not fit '{self.weights}': {reason}") from error
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)  # pyright: ignore

    def skeleton(self) -> PreTrainedModel:
        """The model's layers and widths, without weights."""
        try:
            config = AutoConfig.from_pretrained(resolve(self.weights), **AS_IT_IS)
        except (OSError, ValueError) as error:
            raise UserError(f"no model configuration in '{self.weights}': {str(error).splitlines()[0]}") from error
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the weights; an adapter folder's `chat_template.jinja`, if any, is its chat template."""
        try:
            tokenizer = copy.copy(_tokenizer(resolve(self.weights)))  # the template below is this model's own
        except (OSError, ValueError) as error:
            raise UserError(f"no tokenizer for '{self.weights}': {str(error).splitlines()[0]}") from error
        if self.adapter and (template := resolve(self.adapter) / "chat_template.jinja").exists():
            tokenizer.chat_template = template.read_text()
        return tokenizer

    def fingerprint(self) -> str:
        """Identity of the weights' content: equal for the same model wherever it lies."""
        digest = hashlib.sha256(folder_digest(resolve(self.weights)).encode())
        if self.adapter:
            digest.update(folder_digest(resolve(self.adapter)).encode())
        return digest.hexdigest()[:16]

    def spec(self) -> dict:
        """What rebuilds this model from a saved crosscoder: plain JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@lru_cache(maxsize=2)
def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder, **AS_IT_IS)


@lru_cache
def folder_digest(folder: Path) -> str:
    """Digest of a model folder's weights and config; a hub snapshot is known by its commit."""
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.safetensors"), *folder.glob("*config.json")]):
        digest.update(f"{file.name}:{pinned.sha256(file)};".encode())
    return digest.hexdigest()


def same_tokenizer(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether both give the same ids: the whole vocabulary, and one string with what tokenizers disagree on."""
    probe = "Hello  world\n\tfoo_bar(1.50) naïve <end_of_turn> 你好 \u0085🙂"
    with contextlib.suppress(ValueError):
        return a.get_vocab() == b.get_vocab() and a(probe)["input_ids"] == b(probe)["input_ids"]
    return False
