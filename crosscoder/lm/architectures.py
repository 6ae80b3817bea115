"""Find the modules of a language model: decoder, layers, attention and MLP.

transformers has about two hundred causal language models. They share few names, and one name can
mean different things: `post_attention_layernorm` norms the MLP's input in Llama and the attention's
output in Gemma 2. The tables below list names in order; the first one that a model has counts. A
name is only a guess: `loading/sites.py` measures each site once per model.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from crosscoder.errors import UserError
from crosscoder.lm.types import PreTrainedModel

LAYERS = ("layers", "h", "blocks", "decoder.layers", "encoder.layer", "encoder.layers", "layer")


@dataclass(frozen=True)
class Candidate:
    """A possible name of a module in a decoder layer.

    Args:
        path: Name below the layer.
        sibling: Another name the layer must have for this one to count, "" for none.
    """

    path: str
    sibling: str = ""

    def find(self, layer: nn.Module) -> nn.Module | None:
        """Return the module, or None if the layer has no such module."""
        if self.sibling and get_submodule(layer, self.sibling) is None:
            return None
        return get_submodule(layer, self.path)


SITES: dict[str, tuple[Candidate, ...]] = {
    "attn_out": (
        Candidate("post_self_attn_layernorm"),  # GLM 4
        Candidate("post_norm1"),  # HyperCLOVA X
        # Gemma 2 and 3, OLMo 2 and 3, EXAONE 4
        Candidate("post_attention_layernorm", sibling="post_feedforward_layernorm"),
        Candidate("post_attention_layernorm", sibling="post_mlp_layernorm"),  # AFMoE
        Candidate("post_attention_convolution"),  # Inkling 2
        Candidate("attn_sconv"),  # Inkling
        Candidate("self_attn"),
        Candidate("attn"),
        Candidate("self_attention.dense"),  # BLOOM's attention adds the stream itself
        Candidate("self_attention"),
        Candidate("attention"),
        Candidate("linear_attn"),
        Candidate("multi_head_attention"),
        Candidate("mlstm_layer"),
    ),
    "mlp_out": (
        Candidate("post_mlp_layernorm"),
        Candidate("post_norm2"),
        Candidate("post_feedforward_layernorm"),
        Candidate("post_mlp_convolution"),
        Candidate("mlp_sconv"),
        Candidate("mlp.dense_4h_to_h"),  # BLOOM's MLP adds the stream itself
        Candidate("mlp"),
        Candidate("feed_forward"),
        Candidate("ffn.down_proj"),  # MPT's MLP adds the stream itself
        Candidate("ffn"),
        Candidate("fc2"),
        Candidate("block_sparse_moe", sibling="input_layernorm"),
    ),
    "attn_z": (
        Candidate("self_attn.o_proj"),
        Candidate("self_attn.out_proj"),
        Candidate("self_attn.dense"),
        Candidate("attn.c_proj"),
        Candidate("attn.out_proj"),
        Candidate("attn.attention.out_proj"),
        Candidate("self_attention.dense"),
        Candidate("attention.dense"),
        Candidate("multi_head_attention.dense"),
    ),
}


def get_decoder(model: PreTrainedModel) -> nn.Module:
    """Return the module that maps ids to final hidden states: the text model below the head.

    Raises:
        UserError: The architecture is not known.
    """
    # Llama 4 has only the last of these
    for candidate in (model.get_decoder(), model.base_model, get_submodule(model, "model")):
        if candidate is None or candidate is model:
            continue
        if _find_layers(candidate) is not None:
            return candidate
    names = ", ".join(name for name, _ in model.base_model.named_children())
    raise UserError(
        f"{describe_model(model)} is not supported: expected its decoder layers under one of "
        f"{', '.join(LAYERS)}; it has {names}"
    )


def get_layers(model: PreTrainedModel) -> nn.ModuleList:
    """Return the decoder layers, in order."""
    layers = _find_layers(get_decoder(model))
    assert layers is not None  # else get_decoder refuses the model
    return layers


def _find_layers(module: nn.Module) -> nn.ModuleList | None:
    for name in LAYERS:
        found = get_submodule(module, name)
        if isinstance(found, nn.ModuleList):
            return found
    return None


def get_site(model: PreTrainedModel, layer: int, site: str) -> nn.Module:
    """Return the module whose output is a site; for `attn_z` the module whose input it is.

    Raises:
        UserError: The model has no such layer, or the layer has no such site.
    """
    layers = get_layers(model)
    if layer >= len(layers):
        name = model.config.name_or_path or "the model"
        raise UserError(f"no layer {layer}: {name} has layers 0 to {len(layers) - 1}")
    block = layers[layer]
    if site == "resid_post":
        return block
    for candidate in SITES[site]:
        if (module := candidate.find(block)) is not None:
            return module
    names = ", ".join(name for name, _ in block.named_children())
    raise UserError(
        f"layer {layer} of {describe_model(model)} has no {site}: its modules are {names}; "
        f"resid_post.{layer} can be read"
    )


def get_width(model: PreTrainedModel, layer: int, site: str) -> int:
    """Return the width of the activations at a site."""
    if site != "attn_z":
        return get_hidden_size(model)
    projection: Any = get_site(model, layer, site)
    if hasattr(projection, "in_features"):
        return int(projection.in_features)
    return int(projection.weight.shape[0])  # GPT-2 keeps weights as [in, out]


def get_hidden_size(model: PreTrainedModel) -> int:
    """Return the width of the residual stream."""
    return int(model.config.get_text_config(decoder=True).hidden_size)


def get_multiplier(model: PreTrainedModel) -> float:
    """Return the factor of attention and MLP outputs before they are added to the stream."""
    config = model.config.get_text_config(decoder=True)
    factor = getattr(config, "residual_multiplier", None)
    if factor is not None:  # Granite
        return float(factor)
    depth = getattr(config, "scale_depth", None)
    if depth is not None:  # MiniCPM
        return float(depth) / config.num_hidden_layers**0.5
    return 1.0


def get_submodule(module: nn.Module, path: str) -> nn.Module | None:
    """Return the submodule at a dotted path, or None if there is none."""
    for name in path.split("."):
        child = module._modules.get(name)
        if child is None:
            return None
        module = child
    return module


def describe_model(model: PreTrainedModel) -> str:
    """Name a model in a message: its path or id, if it has one, and its architecture."""
    return f"{model.config.name_or_path or 'the model'} ({model.config.model_type})"
