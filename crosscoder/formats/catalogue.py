"""Resolve short names of released dictionaries to folders on the hub."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosscoder.errors import UserError
from crosscoder.formats.gemma_scope_names import (
    describe_alternatives,
    describe_folders,
    describe_widths,
)
from crosscoder.formats.gemma_scope_table import SITES, load_gemma_scope

SAELENS_SITES = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_out"}
# public crosscoders of a base and a chat model, by the names people use for them
MINDER = "science-of-finetuning/gemma-2-2b-L13"
CROSSCODERS = {
    "minder2025_l1": f"{MINDER}-mu4.1e-02-lr1e-04-local-shuffling-CrosscoderLoss",
    "minder2025_batchtopk": f"{MINDER}-k100-lr1e-04-local-shuffling-Crosscoder",
    "dumas2025": "Butanium/gemma-2-2b-crosscoder-l13-mu4.1e-02-lr1e-04",
    "kissane2024": "ckkissane/crosscoder-gemma-2-2b-model-diff/blocks.14.hook_resid_pre",
}


@dataclass(frozen=True)
class KnownModel:
    """Language model of a Gemma Scope repository.

    Args:
        hub_id: Its id on the hub.
        widths: Width of the activations by site.
    """

    hub_id: str
    widths: Mapping[str, int]


def parse_width(word: str) -> int | None:
    """Return the number of latents of a folder's word, e.g. 16384 for `16k`; None if unknown."""
    return load_gemma_scope()["widths"].get(word)


def find_model(origin: str) -> KnownModel | None:
    """Return the language model of a path that names a Gemma Scope repository."""
    table = load_gemma_scope()
    second = re.search(r"gemma-scope-2-(\w+)-(pt|it)(?![^/-])", origin)
    if second:
        size, kind = second.groups()
        # the 270m base model is the only one whose id has no suffix
        suffix = "" if (size, kind) == ("270m", "pt") else f"-{kind}"
        return _build_model(table["models2"].get(size), suffix)
    first = re.search(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att|transcoders)(?![^/-])", origin)
    if first:
        size, kind, _ = first.groups()
        return _build_model(table["models"].get(size), "-it" if kind == "it" else "")
    return None


def is_short_name(name: str) -> bool:
    """Return whether a name is one of Gemma Scope, or of a known crosscoder."""
    return name in CROSSCODERS or name.removeprefix("google/").startswith("gemma-scope")


def resolve_name(name: str) -> str:
    """Return the hub's `owner/name/folder` of a short name; other names stay as they are.

    Raises:
        UserError: Gemma Scope has no such dictionary; the message lists those that it has.
    """
    if not is_short_name(name):
        return name
    if name in CROSSCODERS:
        return CROSSCODERS[name]
    bare = name.removeprefix("google/")
    release, _, folder = bare.partition("/")
    if release.startswith("gemma-scope-2-"):
        return f"google/{_resolve_second(release, folder)}"
    return f"google/{_resolve_first(release.removesuffix('-canonical'), folder)}"


def _build_model(entry: Mapping[str, Any] | None, suffix: str) -> KnownModel | None:
    return KnownModel(entry["id"] + suffix, entry["width"]) if entry else None


def _resolve_first(release: str, folder: str) -> str:
    """Resolve a name of Gemma Scope: `layer_12/width_16k[/canonical]` → `…/average_l0_82`."""
    known = load_gemma_scope()["canonical"]
    if release not in known:
        if release.endswith("transcoders"):
            raise UserError(
                f"'{release}' holds transcoders, which map one site to another: not supported"
            )
        raise UserError(f"there is no '{release}': {describe_alternatives(release)}")
    if folder.startswith("embedding/"):
        return f"{release}/{folder}"
    found = re.fullmatch(r"layer_(\d+)/width_(\w+?)(?:/(canonical|average_l0_\d+))?", folder)
    if not found:
        raise UserError(
            f"'{release}' has folders layer_N/width_W/average_l0_L (or /canonical), not "
            f"'{folder}': it has widths {describe_widths(release)}"
        )
    layer, width, name = found.groups()
    l0_by_layer = _l0_by_layer(known[release].get(width, {}))
    if int(layer) not in l0_by_layer:
        raise UserError(
            f"'{release}' has no width {width} at layer {layer}: "
            f"it has widths {describe_widths(release)}"
        )
    if name in (None, "canonical"):
        name = f"average_l0_{l0_by_layer[int(layer)]}"
    return f"{release}/layer_{layer}/width_{width}/{name}"


def _resolve_second(release: str, folder: str) -> str:
    """Resolve a name of Gemma Scope 2, or SAELens's release (`…-res`, `…-res-all`) and id."""
    found = re.fullmatch(r"(gemma-scope-2-(\w+)-(?:pt|it))(?:-(res|mlp|att)(-all)?)?", release)
    model = load_gemma_scope()["models2"].get(found[2]) if found else None
    if not found or not model:
        raise UserError(f"there is no '{release}': {describe_alternatives(release)}")
    repository, _, saelens_site, all_suffix = found.groups()
    if saelens_site:
        site_folder = SAELENS_SITES[saelens_site] + ("_all" if all_suffix else "")
        folder = f"{site_folder}/{folder}"
    if not _has_folder(model, folder):
        raise UserError(f"'{repository}' has no '{folder}': it has {describe_folders(model)}")
    return f"{repository}/{folder}"


def _has_folder(model: Mapping[str, Any], folder: str) -> bool:
    """Tell whether a Gemma Scope 2 repository has a folder, as far as its layer is concerned."""
    site, _, name = folder.partition("/")
    layers = re.match(r"layer_(\d+(?:_\d+)*?)_width_", name)
    is_single_layer = layers is not None and "_" not in layers[1]
    if layers and is_single_layer and site.removesuffix("_all") in SITES:
        known = range(model["layers"]) if site.endswith("_all") else model["subset"]
        return int(layers[1]) in known
    return site in ("crosscoder", "transcoder", "transcoder_all", "clt")


def _l0_by_layer(entry: Any) -> dict[int, int]:
    """Read a table entry: a list over all layers, or a mapping from some of them."""
    if isinstance(entry, list):
        return dict(enumerate(entry))
    return {int(layer): l0 for layer, l0 in entry.items()}
