"""Crosscoders of Kissane et al. 2024 and of Neel Nanda's code: a pair of files (kissane_files.py).

    f = relu(Σ_m x'_m W_enc[m] + b_enc)      x̂'_m = f W_dec[:, m] + b_dec[m]      x'_m = c_m x_m

    W_enc [M, d, F]   W_dec [F, M, d]   b_enc [F]   b_dec [M, d]

The factors c_m = √d / mean‖x_m‖ are not in the files: they are passed as `input_scale`, 1 where
they were folded in, as in Nanda's lambda_2_64k. Model 0 is the base. BOS was left out of training.
`blocks.14.hook_resid_pre` is resid_post.13. Settings with a site but without a hook point belong to
Nanda's crosscoder of all layers of one model.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from crosscoder.core.activations.relu import ReLU
from crosscoder.core.sources import Source, Sources
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import parse_hookpoint
from crosscoder.formats.input_scale import InputScale, require_input_scale
from crosscoder.formats.model_sources import build_model_sources, guess_role
from crosscoder.formats.readers.kissane_files import find_pair, require_pair
from crosscoder.formats.settings import read_setting

# factors of ckkissane/crosscoder-gemma-2-2b-model-diff, from the author's notebook
PUBLISHED = {"base": 0.2758961493232058, "chat": 0.24422852496546169}
REPO = "ckkissane/crosscoder-gemma-2-2b-model-diff"
FOLDED = ("lambda_2_64k.pt",)  # the author folded the factors into these before upload
# file names of numbered saves; a star would match files of other folders on the hub
NUMBERED_FILES = (
    "[0-9]_cfg.json",
    "[0-9].pt",
    "[0-9][0-9]_cfg.json",
    "[0-9][0-9].pt",
)


def fits(folder: Folder) -> bool:
    """Tell whether there is a pair of files whose encoder is not an SAE's."""
    pair = find_pair(folder)
    return pair is not None and len(folder.read_shapes(pair[1]).get("W_enc", [])) != 2


def read(folder: Folder, input_scale: InputScale) -> Dictionary:
    """Read the crosscoder of several models at one hookpoint, or of one model at every layer."""
    settings, weights = require_pair(folder)
    config = folder.read_json(settings)
    lengths = {}
    for axis, key in (("d", "d_in"), ("F", "dict_size")):
        length = read_setting(config, key, int, f"{folder.path}/{settings}", None)
        if length is not None:
            lengths[axis] = length
    file = folder.read_tensors(weights, lengths)
    W_enc = file.take("W_enc", "M d F")
    W_dec = file.take("W_dec", "F M d")
    b_enc = file.take("b_enc", "F")
    b_dec = file.take("b_dec", "M d")
    file.finish()
    M, d, _ = W_enc.shape
    sources, models = _read_sources(config, M, d)
    if input_scale is None:
        input_scale = _find_published(folder, weights)
    hint = f"For {REPO} they are {PUBLISHED}; where they were folded in, 1."
    scale = 1 / require_input_scale(input_scale, sources, folder, hint)
    return Dictionary(
        sources,
        W_enc.permute(2, 0, 1).flatten(1).contiguous(),
        b_enc,
        W_dec.flatten(1),
        b_dec.flatten(),
        ReLU(),
        norm="x · √d / mean‖x‖, one factor for each model",
        bos=False,
        scale=scale,
        selection_scale=W_dec.norm(dim=-1).sum(1),
        models=models,
        notes={"input_scale": _factor_by_source(sources, scale)},
    )


def _find_published(folder: Folder, weights: str) -> InputScale:
    """Return the factors of published weights; None if they are unknown."""
    if folder.repo == REPO:
        return PUBLISHED
    if weights in FOLDED:
        return 1.0
    return None


def _factor_by_source(sources: Sources, scale: Tensor) -> dict[str, float]:
    scales = scale.split(sources.widths)
    pairs = zip(sources, scales, strict=True)
    return {source.name: 1 / float(columns[0]) for source, columns in pairs}


def _read_sources(config: Mapping[str, Any], M: int, d: int) -> tuple[Sources, dict[str, str]]:
    """Return the sources, and the hub ids of their models if the settings name them."""
    places = [config.get("hook_point"), config.get("hook_name")]
    place = next((text for text in places if isinstance(text, str)), None)
    site = config.get("site")
    if place is None and isinstance(site, str):
        return _read_layer_sources(config, site, M, d)
    sources = build_model_sources([d] * M, parse_hookpoint(place))
    weights = _read_pair(config) if M == 2 else None
    return sources, dict(zip(("base", "chat"), weights, strict=True)) if weights else {}


def _read_layer_sources(
    config: Mapping[str, Any], site: str, M: int, d: int
) -> tuple[Sources, dict[str, str]]:
    """Return the sources of a crosscoder of all layers of one model."""
    model = _read_model(config)
    lm = guess_role(model)
    sources = []
    for layer in range(M):
        place = f"blocks.{layer}.hook_{site}"
        sources.append(Source(f"{lm}.{layer}", d, lm, parse_hookpoint(place) or place))
    return Sources(tuple(sources)), {lm: model} if model else {}


def _read_pair(config: Mapping[str, Any]) -> list[str] | None:
    """Return the hub ids of base and chat model; None if the settings do not name them."""
    named = [config.get(f"model_name_{letter}") for letter in "AB"]
    if all(isinstance(name, str) for name in named):
        return [str(name) for name in named]
    model = _read_model(config)
    if not model or "gemma-2" not in model:
        return None
    base = model if "/" in model else f"google/{model}"
    return [base, f"{base}-it"]


def _read_model(config: Mapping[str, Any]) -> str | None:
    model = config.get("model_name")
    return model if isinstance(model, str) else None


LAYOUT = Layout(
    "kissane",
    (),
    read,
    optional=("cfg.json", "cc_weights.pt", *NUMBERED_FILES),
    fits=fits,
    accepts_input_scale=True,
)
