"""Build small models of every causal architecture of transformers: four layers of width 32."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

ARCHITECTURES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
N_LAYERS, WIDTH, VOCABULARY = 4, 32, 96
SIZES: dict[str, int] = {
    **dict.fromkeys(
        ("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "word_embed_proj_dim"), WIDTH
    ),
    **dict.fromkeys(
        ("dim_model", "attention_hidden_size", "emb_dim", "lru_width", "embedding_dim"), WIDTH
    ),
    **dict.fromkeys(
        (
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "d_inner",
            "encoder_ffn_dim",
            "decoder_ffn_dim",
        ),
        64,
    ),
    **dict.fromkeys(
        ("dim_ff", "shared_expert_intermediate_size", "shared_intermediate_size", "dff"), 64
    ),
    **dict.fromkeys(("ffn_hidden_size", "d_ff", "mlp_hidden_size", "hidden_dim"), 64),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "share_expert_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), N_LAYERS),
    **dict.fromkeys(("decoder_layers", "encoder_layers", "num_decoder_layers"), N_LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(
        ("decoder_attention_heads", "encoder_attention_heads", "num_decoder_attention_heads"), 4
    ),
    **dict.fromkeys(("num_key_value_heads", "linear_num_key_heads", "linear_num_value_heads"), 2),
    **dict.fromkeys(("head_dim", "linear_key_head_dim", "linear_value_head_dim", "v_head_dim"), 8),
    **dict.fromkeys(
        (
            "qk_nope_head_dim",
            "qk_rope_head_dim",
            "attention_head_dim",
            "global_head_dim",
            "dim_head",
        ),
        8,
    ),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        ("num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts"), 2
    ),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "index_head_dim"), 16),
    **dict.fromkeys(
        ("mamba_n_heads", "mamba_d_head", "mamba_num_heads", "mamba_head_dim", "state_size"), 8
    ),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"), 128),
}
BY_LAYER = ("layer_types", "layers_block_type", "mlp_layer_types")
SPECIAL = (
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "decoder_start_token_id",
    "cls_token_id",
    "sep_token_id",
)
LATENT_ATTENTION = {"num_key_value_heads": 4}
MULTIPLIERS = {"residual_multiplier": 0.3, "logits_scaling": 3.0}
GRANITE = (
    "granite",
    "granite_swa",
    "granitemoe",
    "granitemoe_swa",
    "granitemoeshared",
    "granitemoehybrid",
    "hyperclovax",
)
OVERRIDES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(GRANITE, MULTIPLIERS),
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4, "n_head": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "reformer": {"axial_pos_embds": False, "attention_head_size": 8, "feed_forward_size": 64},
    "zaya": {"num_experts_per_tok": 1},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp": {"num_key_value_heads": 2},
    "qwen4_exp_text": {"num_key_value_heads": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "zamba": {"attention_hidden_size": 64, "attention_head_dim": 16},
    "zamba2": {"attention_hidden_size": 64, "attention_head_dim": 16},
    "falcon_h1": {"mamba_d_ssm": 64},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "ministral": {"head_dim": 8},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "roc_bert": {"pronunciation_vocab_size": 16, "shape_vocab_size": 16},
}


def build(model_type: str, **overrides: Any) -> PreTrainedModel:
    """Build a model in eval mode, float32, without gradients, with weights that are large."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(model_type, **overrides)).float()
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data *= 4
    return model.eval().requires_grad_(False)


def config_of(model_type: str, **overrides: Any) -> PreTrainedConfig:
    """Return a small configuration of an architecture."""
    kind = CONFIG_MAPPING[model_type]
    values = small(kind())
    if "is_decoder" in kind().to_dict():
        values["is_decoder"] = True
    return kind(**(values | OVERRIDES.get(model_type, {}) | overrides))


def small(config: PreTrainedConfig) -> dict[str, Any]:
    """Return values that make a configuration small, also the configurations inside it."""
    values: dict[str, Any] = {}
    default = config.to_dict()
    for name, value in default.items():
        inner = getattr(config, name, None) if isinstance(value, dict) else None
        if isinstance(inner, PreTrainedConfig):
            values[name] = small(inner)
        elif name in SIZES and isinstance(value, int) and not isinstance(value, bool):
            values[name] = SIZES[name]
        elif name in BY_LAYER and value:
            kinds = list(dict.fromkeys(value))
            values[name] = (kinds * N_LAYERS)[:N_LAYERS]
        elif name in SPECIAL and value is not None:
            values[name] = min(value, 3) if isinstance(value, int) else 3
    if "kv_lora_rank" in values:
        values |= LATENT_ATTENTION
    return values
