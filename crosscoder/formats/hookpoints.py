"""Translate places of other libraries into hookpoints (lm/hooks.py).

blocks.L.hook_resid_post                       TransformerLens         resid_post.L
blocks.L.hook_resid_pre                                                resid_post.(L − 1)
blocks.L.hook_mlp_out                                                  mlp_out.L
blocks.L.hook_attn_out                                                 attn_out.L
blocks.L.attn.hook_z                                                   attn_z.L
model.layers.L.output                          Gemma Scope 2           resid_post.L
model.layers.L.self_attn.o_proj.input                                  attn_z.L
model.layers.L.post_feedforward_layernorm.output                       mlp_out.L
layers.L, h.L                                  module paths (output)   resid_post.L
layers.L.mlp, layers.L.self_attn                                       mlp_out.L, attn_out.L
resid_post_layer_L, mlp_out_layer_L, …         dictionary_learning     resid_post.L, mlp_out.L, …

The output of an MLP or attention module is what is added to the residual stream only if no norm and
no factor follows. For models that have one, such a path stays as it is written. Places without a
hookpoint also stay as they are written; activations are never read there.
"""

import re

LAYER_PATH = r"(?:(?:model|transformer|gpt_neox|language_model|decoder)\.)*(?:layers|h)[._](\d+)"
RULES = (
    (r"blocks\.(\d+)\.hook_resid_post", "resid_post", 0),
    (r"blocks\.(\d+)\.hook_resid_pre", "resid_post", -1),
    (r"blocks\.(\d+)\.hook_mlp_out", "mlp_out", 0),
    (r"blocks\.(\d+)\.hook_attn_out", "attn_out", 0),
    (r"blocks\.(\d+)\.attn\.hook_z", "attn_z", 0),
    (LAYER_PATH + r"(?:\.output)?", "resid_post", 0),
    (LAYER_PATH + r"\.input", "resid_post", -1),
    (LAYER_PATH + r"\.self_attn\.o_proj\.input", "attn_z", 0),
    (LAYER_PATH + r"\.post_feedforward_layernorm(?:\.output)?", "mlp_out", 0),
)
# outputs of modules that a norm or a factor may follow
MODULE_RULES = (
    (LAYER_PATH + r"[._]mlp(?:\.output)?", "mlp_out", 0),
    (LAYER_PATH + r"[._](?:self_attn|attn|attention)(?:\.output)?", "attn_out", 0),
)
POST_NORMED = re.compile(r"gemma-?[23]|olmo-?[23]|glm-?4|exaone-?4|granite|minicpm", re.IGNORECASE)
SUBMODULE_RULES = (
    (r"(resid_post|mlp_out|attn_out|attn_z)_layer_?(\d+)", 0),
    (r"(resid_out)_layer_?(\d+)", 0),
    (r"(resid_pre)_layer_?(\d+)", -1),
    (r"(layer)_?(\d+)(?:_out)?", 0),
    (r"(layer)_?(\d+)_in", -1),
)
RESIDUAL_SITES = {"resid_out": "resid_post", "resid_pre": "resid_post", "layer": "resid_post"}


def parse_hookpoint(text: str | None, model: str | None = None) -> str:
    """Translate a place: `blocks.13.hook_resid_post` → `resid_post.13`.

    Args:
        text: Place in another library's words.
        model: Name of the language model, if it is known.

    Returns:
        The hookpoint, or `text` if the place has none.
    """
    rules = RULES if model and POST_NORMED.search(model) else (*RULES, *MODULE_RULES)
    for pattern, site, shift in rules:
        found = re.fullmatch(pattern, text or "", re.ASCII)
        place = _format_hookpoint(site, found[1], shift) if found else ""
        if place:
            return place
    return text or ""


def parse_submodule(name: str, layer: int | None, model: str | None = None) -> str:
    """Translate a `submodule_name` of dictionary_learning; `layer` belongs to a bare `mlp_out`."""
    for text in (name, f"{name}_layer_{layer}"):
        for pattern, shift in SUBMODULE_RULES:
            found = re.fullmatch(pattern, text, re.ASCII)
            if not found:
                continue
            site = RESIDUAL_SITES.get(found[1], found[1])
            place = _format_hookpoint(site, found[2], shift)
            if place:
                return place
    return parse_hookpoint(name, model)


def is_named(place: str) -> bool:
    """Tell whether a place is a hookpoint, `site.layer`."""
    pattern = r"(?:resid_post|mlp_out|attn_out|attn_z)\.\d{1,4}"
    return re.fullmatch(pattern, place, re.ASCII) is not None


def is_module(text: str) -> bool:
    """Tell whether a text is a path to a decoder layer, a module in it, or the embedding."""
    pattern = rf"{LAYER_PATH}(?:[._]\w+)*|(?:\w+\.)*(?:embed_tokens|wte|embed_in)"
    return re.fullmatch(pattern, text, re.ASCII) is not None


def expand_layers(text: str) -> list[str]:
    """Expand `model.layers.{5,9,12,15}.output` into one path per layer."""
    found = re.search(r"\{([\d, ]+)\}", text)
    if not found:
        return [text]
    return [text.replace(found[0], layer.strip()) for layer in found[1].split(",")]


def _format_hookpoint(site: str, layer: str, shift: int) -> str:
    """Return `site.layer`, or "" if the model cannot have such a layer."""
    if len(layer) > 4 or int(layer) + shift < 0:
        return ""
    return f"{site}.{int(layer) + shift}"
