"""SAEs of Neel Nanda's code and its descendants, e.g. Kissane et al.'s attention SAEs of GPT-2.

Files: `NAME.pt` and `NAME_cfg.json` (kissane_files.py).

    f = relu((x − b_dec) W_enc + b_enc)      x̂ = f W_dec + b_dec

    W_enc [d, F]   W_dec [F, d]   b_enc [F]   b_dec [d]

Raw activations. `blocks.L.attn.hook_z` is the concatenated output of all heads.
"""

from collections.abc import Mapping
from typing import Any

from crosscoder.core.activations.relu import ReLU
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.readers.kissane_files import find_pair, require_pair
from crosscoder.formats.settings import read_setting


def fits(folder: Folder) -> bool:
    """Tell whether the encoder of a pair of files has two axes."""
    pair = find_pair(folder)
    return pair is not None and len(folder.read_shapes(pair[1]).get("W_enc", [])) == 2


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one site."""
    settings, weights = require_pair(folder)
    config = folder.read_json(settings)
    lengths = {}
    for axis, key in (("d", "act_size"), ("F", "dict_size")):
        length = read_setting(config, key, int, f"{folder.path}/{settings}", None)
        if length is not None:
            lengths[axis] = length
    file = folder.read_tensors(weights, lengths)
    W_enc = file.take("W_enc", "d F").T.contiguous()
    W_dec = file.take("W_dec", "F d")
    b_enc = file.take("b_enc", "F")
    b_dec = file.take("b_dec", "d")
    file.finish()
    model = _text_or_none(config, "model_name")
    place = _text_or_none(config, "act_name")
    hookpoint = "" if place is None else parse_hookpoint(place, model)
    sources, models = build_single_source(len(b_dec), hookpoint, model)
    return Dictionary(sources, W_enc, b_enc, W_dec, b_dec, ReLU(), pre_bias=True, models=models)


def _text_or_none(config: Mapping[str, Any], key: str) -> str | None:
    value = config.get(key)
    return value if isinstance(value, str) else None


LAYOUT = Layout("kissane_sae", (), read, fits=fits)
