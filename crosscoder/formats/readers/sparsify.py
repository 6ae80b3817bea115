"""EleutherAI's sparsify: `HOOKPOINT/cfg.json` and `HOOKPOINT/sae.safetensors`.

    f = the k largest of relu(x̃ Eᵀ + b)      x̃ = x − b_dec      x̂ = f W_dec + b_dec

    encoder.weight [F, d]   encoder.bias [F]   W_dec [F, d]   b_dec [d]

The folder is named after the module of the language model whose output is read: `layers.10`,
`layers.5.mlp` (hookpoints.py); with several seeds it holds a folder for each. Transcoders and
group-max activations are refused. Defaults are the library's: k 32, expansion_factor 32.
"""

import re
from typing import Any

from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.hookpoints import is_module, parse_hookpoint
from crosscoder.formats.model_sources import build_single_source
from crosscoder.formats.settings import read_setting, require_choice

CONFIG = "cfg.json"
WEIGHTS = "sae.safetensors"


def read(folder: Folder) -> Dictionary:
    """Read the SAE of one module's output."""
    file_name = f"{folder.path}/{CONFIG}"
    config = folder.read_json(CONFIG)
    _refuse_other_kinds(folder, config, file_name)
    d = read_setting(config, "d_in", int, file_name)
    k = read_setting(config, "k", int, file_name, 32)
    n_latents = _read_n_latents(config, d, file_name)
    file = folder.read_tensors(WEIGHTS, {"d": d, "F": n_latents})
    if "W_skip" in file:
        raise UserError(
            f"{folder.origin} is a skip transcoder, which maps one site to another: not supported"
        )
    W_enc = file.take("encoder.weight", "F d")
    b_enc = file.take("encoder.bias", "F")
    W_dec = file.take("W_dec", "F d")
    b_dec = file.take("b_dec", "d")
    file.finish()
    if not 0 < k <= n_latents:
        raise UserError(f"{file_name}: k = {k}, but there are {n_latents} latents")
    module = _find_module(folder.origin)
    hookpoint = parse_hookpoint(module, _find_model(folder))
    sources, _ = build_single_source(d, hookpoint, None)
    notes = {"k": k, "module": module}
    return Dictionary(sources, W_enc, b_enc, W_dec, b_dec, TopK(k), pre_bias=True, notes=notes)


def _refuse_other_kinds(folder: Folder, config: dict[str, Any], file_name: str) -> None:
    if config.get("transcode") or config.get("skip_connection"):
        raise UserError(
            f"{folder.origin} is a transcoder, which maps one site to another: not supported"
        )
    require_choice(config.get("activation", "topk"), ("topk",), f"{file_name}: activation")
    if config.get("signed"):
        raise UserError(f"{file_name}: signed latents are not supported; latents must be positive")


def _read_n_latents(config: dict[str, Any], d: int, file_name: str) -> int:
    n_latents = read_setting(config, "num_latents", int, file_name, 0)
    return n_latents or d * read_setting(config, "expansion_factor", int, file_name, 32)


def _find_module(origin: str) -> str:
    """Return the module that a folder, or its parent for a seed, is named after; "" if none."""
    steps = origin.rstrip("/").split("/")
    name = steps[-1]
    if re.fullmatch(r"seed_?\d+", name, re.ASCII):
        name = steps[-2] if len(steps) > 1 else ""
    return name if is_module(name) else ""


def _find_model(folder: Folder) -> str | None:
    """Return the language model of the run's `config.json` in one of the two folders above."""
    for parent in folder.path.absolute().parents[:2]:
        run = Folder(parent)
        if not run.has_file("config.json"):
            continue
        try:
            model = run.read_json("config.json").get("model")
        except UserError:  # a file that belongs to something else
            continue
        if isinstance(model, str):
            return model
    return None


LAYOUT = Layout("sparsify", (CONFIG, WEIGHTS), read)
