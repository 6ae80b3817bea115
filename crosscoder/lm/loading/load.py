"""Language models by name: load the model or its tokenizer, and identify its weights."""

import copy
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from crosscoder.errors import UserError
from crosscoder.io.files import read_text
from crosscoder.lm.loading.adapters import fit_to_adapter, merge_adapter
from crosscoder.lm.loading.cast import cast_weights
from crosscoder.lm.loading.folders import (
    find_local_folder,
    hash_folder,
    resolve_folder,
    stamp_folder,
)
from crosscoder.lm.loading.keys import require_all_weights
from crosscoder.lm.loading.quiet import silence_transformers
from crosscoder.lm.loading.tokenizers import has_tokenizer, read_tokenizer
from crosscoder.lm.loading.view import open_view
from crosscoder.lm.loading.weights import require_size
from crosscoder.lm.types import PreTrainedModel, Tokenizer

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class LM:
    """A language model by name: its weights, and an adapter to merge into them, if any.

    Args:
        weights: A local folder, a hub id, or `pinned:NAME`.
        adapter: A local folder or a hub id.
    """

    weights: str
    adapter: str | None = None

    def __post_init__(self) -> None:
        self._require_name("weights", self.weights)
        if self.adapter is not None:
            self._require_name("adapter", self.adapter)

    @staticmethod
    def _require_name(key: str, value: Any) -> None:
        if not isinstance(value, str):
            raise UserError(f"{key} of a model is a folder, a hub id or pinned:NAME, not {value!r}")

    def describe(self) -> str:
        """Return the name of the weights, and of the adapter that is merged into them."""
        return f"{self.weights} + {self.adapter}" if self.adapter else self.weights

    def load(
        self, dtype: torch.dtype = torch.bfloat16, device: str | torch.device = "cpu"
    ) -> PreTrainedModel:
        """Load the model in eval mode and without gradients.

        An adapter is merged in fp32, then the weights are cast.
        """
        from transformers import AutoModelForCausalLM

        silence_transformers()
        folder, adapter = self._find_folders()
        with open_view(folder, f"cannot load '{self.weights}'", weights=True) as view:
            require_size(folder, _build_on_meta(view))
            model, report = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                view,
                dtype=torch.float32 if adapter else dtype,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                local_files_only=True,
                trust_remote_code=False,
            )
        require_all_weights(self.weights, report)
        if self.adapter and adapter:
            model = merge_adapter(model, self.adapter, adapter, self.weights)
        cast_weights(model, dtype)
        return model.to(device).eval().requires_grad_(False)  # pyright: ignore

    def build_skeleton(self) -> PreTrainedModel:
        """Build the model's modules without memory for weights, to read widths and sizes."""
        silence_transformers()
        refusal = f"no model configuration in '{self.weights}'"
        folder, adapter = self._find_folders()
        with open_view(folder, refusal) as view:
            model = _build_on_meta(view)
        if self.adapter and adapter:  # it may have been trained with more tokens
            fit_to_adapter(model, self.adapter, adapter)
        return model

    def load_tokenizer(self) -> Tokenizer:
        """Load the tokenizer of the adapter if its folder holds one, else that of the weights.

        If an adapter's folder holds only a `chat_template.jinja`, the tokenizer of the weights gets
        this template.
        """
        weights, adapter = self._find_folders()
        folder = weights
        name = self.weights
        template: Path | None = None
        if self.adapter and adapter:
            if has_tokenizer(adapter):  # it may have more tokens
                folder = adapter
                name = self.adapter
            elif (adapter / TEMPLATE).exists():
                template = adapter / TEMPLATE
        tokenizer = copy.copy(read_tokenizer(folder, weights, f"no tokenizer for '{name}'"))
        if template is not None:
            tokenizer.chat_template = read_text(template)
        return tokenizer

    def fingerprint(self) -> str:
        """Return the identity of the weights' content, equal for the same model in any folder."""
        weights, adapter = self._find_folders()
        digest = hashlib.sha256(hash_folder(weights).encode())
        if adapter:
            digest.update(hash_folder(adapter).encode())
        return digest.hexdigest()[:16]

    def stamp(self) -> tuple:
        """Return what changes when a local file of the model is rewritten, without reading it."""
        stamps = []
        for name in (self.weights, self.adapter):
            folder = find_local_folder(name) if name else None
            if folder is not None:
                stamps.append(stamp_folder(folder))
        return tuple(stamps)

    def _find_folders(self) -> tuple[Path, Path | None]:
        """Return the folders of the weights and of the adapter, if there is one.

        A wrong name of an adapter is noticed before large weights are downloaded or converted.
        """
        adapter = self.find(self.adapter) if self.adapter else None
        return self.find(self.weights), adapter

    def find(self, name: str) -> Path:
        """Return the folder of the weights or the adapter."""
        return resolve_folder(name)

    def may_load(self) -> bool:
        """Return whether `find` returns the folders without a refusal."""
        return True

    def spec(self) -> dict[str, Any]:
        """Return plain JSON that rebuilds this model from a saved crosscoder."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def _build_on_meta(view: Path) -> PreTrainedModel:
    """Build the model that a config.json describes, without memory for its weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    # transformers would ask on the terminal whether to run code that a config.json names
    config = AutoConfig.from_pretrained(view, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
