"""Refuse a checkpoint that does not hold exactly the weights of the model.

transformers draws missing weights at random, and no result may rest on such a model. It reports
which weights of the model a checkpoint does not have (missing), which of the checkpoint's weights
the model does not have (unexpected), and which have another shape (mismatched). Weights that
transformers itself knows to be harmless, e.g. a head tied to the embeddings, are not among them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crosscoder.errors import UserError

# weights that do not belong to the language model, so reading its activations does not need them
HARMLESS = re.compile(
    r".*\.(inv_freq|masked_bias)"  # buffers that old versions of transformers saved
    r"|.*\.attn\.bias"
    r"|(.*\.)?(vision|visual|image|audio|video|speech)\w*\..*"  # other modalities
    r"|(.*\.)?(multi_modal_projector|mm_projector)\..*"
    r"|(.*\.)?mtp\w*\..*"  # multi-token prediction
    r"|v_head\..*"  # a value head of reinforcement learning
)
WRAPPERS = {
    "base_model.model.": "saved from a PEFT model: save it after merge_and_unload()",
    "_orig_mod.": "saved from a compiled model: remove the prefix from every key",
    "module.": "saved from a wrapped model: remove the prefix from every key",
    "_fsdp_wrapped_module.": "saved from a wrapped model: remove the prefix from every key",
}
# endings of names that only quantised checkpoints have
QUANTISED = (
    ".SCB",
    ".absmax",
    ".qweight",
    ".qzeros",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".scales",
)
MAX_SHOWN_KEYS = 3


def require_all_weights(name: str, report: Mapping[str, Any]) -> None:
    """Refuse a model that was not loaded from exactly the weights of its checkpoint.

    Args:
        name: The checkpoint, for the message.
        report: Loading information of `from_pretrained`.

    Raises:
        UserError: With the missing, unexpected and mismatched keys, and what probably happened.
    """
    missing = sorted(report.get("missing_keys", ()))
    unexpected = [
        key for key in sorted(report.get("unexpected_keys", ())) if not HARMLESS.fullmatch(key)
    ]
    mismatched = sorted(_describe_shapes(*entry) for entry in report.get("mismatched_keys", ()))
    refuse_keys(
        f"'{name}' is not the model its config.json describes", missing, unexpected, mismatched
    )


def refuse_keys(
    refusal: str, missing: Sequence[str], unexpected: Sequence[str], mismatched: Sequence[str] = ()
) -> None:
    """Raise a UserError that names some keys of every list; do nothing if all lists are empty.

    Args:
        refusal: The beginning of the message.
        missing: Keys that the file lacks.
        unexpected: Keys that the model lacks.
        mismatched: Keys with their shapes in both.
    """
    if not (missing or unexpected or mismatched):
        return
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": mismatched}
    counts = []
    for title, keys in lists.items():
        if keys:
            counts.append(f"{len(keys)} weights {title} ({_list_some(keys)})")
    hint = _explain([*missing, *unexpected])
    raise UserError(f"{refusal}: {', '.join(counts)}{hint}")


def _list_some(keys: Sequence[str]) -> str:
    rest = ", …" if len(keys) > MAX_SHOWN_KEYS else ""
    return ", ".join(keys[:MAX_SHOWN_KEYS]) + rest


def _describe_shapes(key: str, held: Sequence[int], described: Sequence[int]) -> str:
    return f"{key}, {list(held)} in the files and {list(described)} by config.json"


def _explain(keys: Iterable[str]) -> str:
    """Return a hint about how the file was made, or an empty text."""
    for key in keys:
        for wrapper, explanation in WRAPPERS.items():
            if wrapper in key:
                return f"; it was {explanation}"
        if key.endswith(QUANTISED):
            return "; it is quantised: use the weights that it was made from"
        if ".lora_" in key or ".base_layer." in key:
            return (
                "; it holds an adapter that was not merged: "
                "save it after merge_and_unload(), or pass it as adapter="
            )
    return ""
