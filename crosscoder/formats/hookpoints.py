"""Where in a language model others say their dictionaries read, in this project's words (lm/hooks.py).

blocks.L.hook_resid_post                       TransformerLens         resid_post.L
blocks.L.hook_resid_pre                                                resid_post.(L − 1)
blocks.L.hook_mlp_out, hook_attn_out, attn.hook_z                      mlp_out.L, attn_out.L, attn_z.L
model.layers.L.output                          Gemma Scope 2           resid_post.L
model.layers.L.self_attn.o_proj.input                                  attn_z.L
model.layers.L.post_feedforward_layernorm.output                       mlp_out.L
layers.L, h.L                                  module paths (output)   resid_post.L
"""

import re

RULES = (
    (r"blocks\.(\d+)\.hook_resid_post", "resid_post", 0),
    (r"blocks\.(\d+)\.hook_resid_pre", "resid_post", -1),
    (r"blocks\.(\d+)\.hook_mlp_out", "mlp_out", 0),
    (r"blocks\.(\d+)\.hook_attn_out", "attn_out", 0),
    (r"blocks\.(\d+)\.attn\.hook_z", "attn_z", 0),
    (r"(?:model\.)?(?:language_model\.)?layers[._](\d+)(?:\.output)?", "resid_post", 0),
    (r"(?:transformer\.)?h\.(\d+)", "resid_post", 0),
    (r"(?:model\.)?(?:language_model\.)?layers\.(\d+)\.self_attn\.o_proj\.input", "attn_z", 0),
    (r"(?:model\.)?(?:language_model\.)?layers\.(\d+)\.post_feedforward_layernorm(?:\.output)?", "mlp_out", 0),
)


def hookpoint(text: str | None) -> str:
    """`blocks.13.hook_resid_post` → `resid_post.13`; a place that has no name here stays as it is written."""
    for pattern, site, shift in RULES:
        if (found := re.fullmatch(pattern, text or "", re.ASCII)) and len(found[1]) < 5 and int(found[1]) + shift >= 0:
            return f"{site}.{int(found[1]) + shift}"
    return text or ""


def layers_of(text: str) -> list[str]:
    """`model.layers.{5,9,12,15}.output` → that path once for each layer."""
    if not (found := re.search(r"\{([\d, ]+)\}", text)):
        return [text]
    return [text.replace(found[0], layer.strip()) for layer in found[1].split(",")]
