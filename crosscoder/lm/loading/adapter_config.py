"""Read an adapter's adapter_config.json against a schema of known settings with plain values.

peft gets nothing else. It would import a module that `megatron_core` names, load files that other
entries name, and download the base model. Merging an adapter needs none of that.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from crosscoder.errors import UserError, plain
from crosscoder.io.schema import read_json

NAME = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MERGED = (
    "LORA",
    "ADALORA",
    "LOHA",
    "LOKR",
    "VERA",
    "OFT",
    "BOFT",
    "HRA",
    "FOURIERFT",
    "IA3",
    "LN_TUNING",
    "TRAINABLE_TOKENS",
)
REFUSED = {
    "PROMPT_TUNING": "adds tokens",
    "MULTITASK_PROMPT_TUNING": "adds tokens",
    "CPT": "adds tokens",
    "P_TUNING": "adds tokens",
    "PREFIX_TUNING": "adds keys and values to the attention",
    "CARTRIDGE": "adds keys and values to the attention",
    "ADAPTION_PROMPT": "adds tokens inside the layers",
    "XLORA": "mixes several adapters anew for each token",
    "POLY": "mixes several adapters by task",
}
# Entries about how an adapter was made or is saved, which do not change its weights.
DROPPED = {
    "base_model_name_or_path",
    "revision",
    "peft_version",
    "inference_mode",
    "task_type",
    "auto_mapping",
    "megatron_core",
    "runtime_config",
    "loftq_config",
    "eva_config",
    "qalora_group_size",
}
# Initial values of the adapter's weights, which the file replaces. PiSSA and OLoRA also change the
# base model's weights, in a way that is the same each time.
INITIALISATIONS = (True, False, None, "gaussian", "orthogonal", "eva", "pissa", "olora")
BASE_CHANGING = ("pissa", "olora")

Name = Annotated[str, StringConstraints(pattern=r"^[\w.\-]+$")]
Pattern = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=0, le=2**16)]
Index = Annotated[int, Field(ge=0, le=2**24)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class AdapterSettings(BaseModel):
    """Settings of all kinds of adapters that are merged; None where the file has no entry."""

    model_config = ConfigDict(strict=True, extra="forbid")

    target_modules: list[Name] | str | None = None
    exclude_modules: list[Name] | str | None = None
    modules_to_save: list[Name] | Name | None = None
    layers_to_transform: list[Count] | Count | None = None
    layers_pattern: list[Name] | Name | None = None
    fan_in_fan_out: bool | None = None
    bias: Name | None = None
    r: Count | None = None
    rank_pattern: dict[Pattern, Count] | dict[Pattern, list[bool]] | None = None
    alpha_pattern: dict[Pattern, Number] | None = None
    init_weights: bool | Name | None = None
    # LoRA
    lora_alpha: Number | None = None
    lora_dropout: Number | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    lora_bias: bool | None = None
    init_lora_weights: bool | Name | None = None
    trainable_token_indices: list[Index] | dict[Name, list[Index]] | None = None
    target_parameters: list[Name] | None = None
    ensure_weight_tying: bool | None = None
    # AdaLoRA
    target_r: Count | None = None
    init_r: Count | None = None
    tinit: Index | None = None
    tfinal: Index | None = None
    deltaT: Index | None = None
    beta1: Number | None = None
    beta2: Number | None = None
    orth_reg_weight: Number | None = None
    total_step: Annotated[int, Field(ge=0)] | None = None
    # LoHa and LoKr
    alpha: Number | None = None
    rank_dropout: Number | None = None
    module_dropout: Number | None = None
    use_effective_conv2d: bool | None = None
    decompose_both: bool | None = None
    decompose_factor: Annotated[int, Field(ge=-1, le=2**16)] | None = None
    rank_dropout_scale: bool | None = None
    # VeRA
    projection_prng_key: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    save_projection: bool | None = None
    vera_dropout: Number | None = None
    d_initial: Number | None = None
    # OFT and BOFT
    oft_block_size: Count | None = None
    coft: bool | None = None
    eps: Number | None = None
    block_share: bool | None = None
    use_cayley_neumann: bool | None = None
    num_cayley_neumann_terms: Count | None = None
    boft_block_size: Count | None = None
    boft_block_num: Count | None = None
    boft_n_butterfly_factor: Count | None = None
    boft_dropout: Number | None = None
    # HRA
    apply_GS: bool | None = None
    # FourierFT
    n_frequency: Index | None = None
    n_frequency_pattern: dict[Pattern, Index] | None = None
    scaling: Number | None = None
    random_loc_seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    # IA3
    feedforward_modules: list[Name] | str | None = None
    init_ia3_weights: bool | None = None
    # trainable tokens
    token_indices: list[Index] | None = None


def read_adapter_config(name: str, folder: Path) -> tuple[str, AdapterSettings]:
    """Read the kind and the settings of an adapter.

    Args:
        name: The adapter, for messages.
        folder: The folder of the adapter.

    Raises:
        UserError: The adapter cannot be merged, or has settings that are not known.
    """
    path = folder / NAME
    if not path.exists():
        raise UserError(f"'{name}' is not an adapter: there is no {NAME} in {folder}")
    content = read_json(path, dict)
    kind = content.pop("peft_type", None)
    if not isinstance(kind, str):
        raise UserError(
            f"'{name}' is not an adapter: peft_type in {NAME} must be the name of a kind, "
            f"not {plain(repr(kind), 40)}"
        )
    kind = kind.upper()
    _require_mergeable(name, kind)
    settings = {}
    for key, value in content.items():
        is_known = key in AdapterSettings.model_fields
        is_empty = value in (None, False, "", [], {})
        if key not in DROPPED and (is_known or not is_empty):
            settings[key] = value
    return kind, _validate(str(path), kind, settings)


def _require_mergeable(name: str, kind: str) -> None:
    if kind in REFUSED:
        raise UserError(
            f"adapter '{name}' is of type {kind}, which {REFUSED[kind]}: "
            "only adapters that change weights can be merged"
        )
    if kind not in MERGED:
        raise UserError(
            f"adapter '{name}' is of type {plain(kind, 40)}, which is not supported "
            f"({', '.join(MERGED)} are): merge it with peft (merge_and_unload), save the model, "
            "and use that as weights"
        )


def _validate(path: str, kind: str, content: dict[str, Any]) -> AdapterSettings:
    for key in content:
        if key not in AdapterSettings.model_fields:
            raise UserError(
                f"{path}: {plain(key, 40)!r} is not a setting of a {kind} adapter "
                "that can be merged here"
            )
    try:
        settings = AdapterSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        found = plain(repr(first["input"]), 60)
        raise UserError(
            f"{path}: {first['loc'][0]}: {plain(first['msg'])}, found {found}"
        ) from error
    if settings.init_lora_weights not in INITIALISATIONS:
        raise UserError(
            f"{path}: init_lora_weights={settings.init_lora_weights} changes the base model's "
            "weights in a way that cannot be repeated: save the adapter with "
            "path_initial_model_for_weight_conversion, or merge it and save the model"
        )
    return settings
