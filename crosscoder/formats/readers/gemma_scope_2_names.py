"""Read from configuration and folder name of a Gemma Scope 2 dictionary what it is."""

from typing import Any

from crosscoder.errors import UserError
from crosscoder.formats.catalogue import find_model, parse_width
from crosscoder.formats.folder import Folder
from crosscoder.formats.gemma_scope_table import load_gemma_scope
from crosscoder.formats.settings import format_value, read_setting, require_choice

SITES = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_out": "attn_z"}
FOLDER_BY_SITE = {"resid_post": "resid_post", "mlp_out": "mlp_out", "attn_z": "attn_out"}
KINDS = ("sae", "transcoder", "clt", "crosscoder")
CONFIG_TYPES = {
    "hf_hook_point_in": str,
    "hf_hook_point_out": str,
    "model_name": str,
    "width": int,
}
NOT_SUPPORTED = "maps one site to another, which a crosscoder's sources cannot express: not read"


def read_config(folder: Folder) -> dict[str, Any]:
    """Read and check `config.json`; empty if it is missing."""
    config = folder.read_json("config.json") if folder.has_file("config.json") else {}
    file_name = f"{folder.path}/config.json"
    for name, kind in CONFIG_TYPES.items():
        read_setting(config, name, kind, file_name, None)
    architecture = config.get("architecture", "jump_relu")
    if architecture != "jump_relu":
        found = format_value(architecture)
        raise UserError(f"{file_name}: architecture is {found}, expected Gemma Scope's jump_relu")
    require_choice(config.get("type", "sae"), KINDS, f"{file_name}: type")
    return config


def find_kind(folder: Folder, config: dict[str, Any]) -> str | None:
    """Return `sae`, `transcoder`, `clt` or `crosscoder`, by the config or the folder's name."""
    if config.get("affine_connection"):
        kind = config.get("type", "sae")
        return "transcoder" if kind == "sae" else kind
    named = folder.match_origin("(transcoder|clt|crosscoder)(?:_all)?")
    return config.get("type") or (named[1] if named else None)


def find_site(folder: Folder) -> str:
    """Return the hookpoint of `resid_post/layer_9_width_16k_l0_medium`; "" for other names."""
    site = folder.match_origin("(resid_post|attn_out|mlp_out)(?:_all)?")
    layer = folder.match_origin(r"layer_(\d+)_width_.*")
    return f"{SITES[site[1]]}.{layer[1]}" if site and layer else ""


def find_model_id(folder: Folder, config: dict[str, Any]) -> str | None:
    """Return the hub id of the language model; config files write it in several ways."""
    known = find_model(folder.origin)
    if known:
        return known.hub_id
    name = config.get("model_name")
    if not name:
        return None
    name = name.replace("gemma-v3-", "gemma-3-")
    if "270m" in name:  # the hub id of this base model has no suffix
        name = name.removesuffix("-pt")
    return name if "/" in name else f"google/{name}"


def check_sizes(
    folder: Folder, config: dict[str, Any], model: str | None, site: str, d: int, n_latents: int
) -> None:
    """Refuse weights whose size differs from what the names say."""
    width = folder.match_origin(r"layer_[\d_]+_width_([0-9a-z]+).*")
    sizes_by_place = {
        "config.json": config.get("width"),
        "its name": parse_width(width[1]) if width else None,
    }
    for place, size in sizes_by_place.items():
        if size not in (None, n_latents):
            raise UserError(f"{folder.origin} has {n_latents:,} latents, but {place} says {size:,}")
    expected = _find_width(model, site)
    if expected not in (None, d):
        raise UserError(f"{model} has width {expected} at {site}, but {folder.origin} reads {d}")


def _find_width(model: str | None, site: str) -> int | None:
    """Return the width of a model's activations at a site; None if it is unknown."""
    if not model or site not in FOLDER_BY_SITE:
        return None
    family = model.removesuffix("-pt").removesuffix("-it")
    for known in load_gemma_scope()["models2"].values():
        if known["id"] == family:
            return known["width"][FOLDER_BY_SITE[site]]
    return None
