"""Names of released dictionaries: short ones, canonical ones, and what there is where a name is wrong (gemma_scope.toml)."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from crosscoder.errors import UserError

FOLDERS = ("resid_post", "mlp_out", "attn_out")
SAELENS = {"res": "resid_post", "mlp": "mlp_out", "att": "attn_out"}
# public crosscoders of base and chat, by the names people use for them
CROSSCODERS = {
    "minder2025_l1": "science-of-finetuning/gemma-2-2b-L13-mu4.1e-02-lr1e-04-local-shuffling-CrosscoderLoss",
    "minder2025_batchtopk": "science-of-finetuning/gemma-2-2b-L13-k100-lr1e-04-local-shuffling-Crosscoder",
    "dumas2025": "Butanium/gemma-2-2b-crosscoder-l13-mu4.1e-02-lr1e-04",
    "kissane2024": "ckkissane/crosscoder-gemma-2-2b-model-diff/blocks.14.hook_resid_pre",
}


@cache
def gemma_scope() -> dict[str, Any]:
    """gemma_scope.toml."""
    return tomllib.loads((Path(__file__).parent / "gemma_scope.toml").read_text())


def width_of(word: str) -> int | None:
    """`16k` → 16384."""
    return gemma_scope()["widths"].get(word)


def model_of(origin: str) -> tuple[str, dict[str, Any], str] | None:
    """(family, what is known of the model, its hub id) of a path that names a Gemma Scope repository."""
    if found := re.search(r"gemma-scope-2-(\w+)-(pt|it)(?![^/-])", origin):
        model = gemma_scope()["models2"].get(found[1])
        plain = found[1] == "270m" and found[2] == "pt"  # the one base model without a suffix
        return ("2", model, model["id"] + ("" if plain else f"-{found[2]}")) if model else None
    if found := re.search(r"gemma-scope-(\w+)-(pt|it)-(res|mlp|att|transcoders)(?![^/-])", origin):
        model = gemma_scope()["models"].get(found[1])
        return ("1", model, model["id"] + ("-it" if found[2] == "it" else "")) if model else None
    return None


def resolve(name: str) -> str:
    """The hub's `owner/name/folder` of a short name or of an alias in a Gemma Scope repository; other names as they are.

    Raises:
        UserError: Gemma Scope has no such dictionary; says what it has.
    """
    if name in CROSSCODERS:
        return CROSSCODERS[name]
    bare = name.removeprefix("google/")
    if not bare.startswith("gemma-scope"):
        return name
    release, _, folder = bare.partition("/")
    if release.startswith("gemma-scope-2-"):
        return f"google/{_second(release, folder)}"
    return f"google/{_first(release.removesuffix('-canonical'), folder)}"


def _first(release: str, folder: str) -> str:
    """Gemma Scope: `layer_12/width_16k[/canonical]` → `…/average_l0_82`."""
    known = gemma_scope()["canonical"]
    if release not in known:
        if release.endswith("transcoders"):
            raise UserError(f"'{release}' holds transcoders, which are not read: they map one site to another")
        raise UserError(f"there is no '{release}': {_instead(release)}")
    if folder.startswith("embedding/"):
        return f"{release}/{folder}"
    found = re.fullmatch(r"layer_(\d+)/width_(\w+?)(?:/(canonical|average_l0_\d+))?", folder)
    if not found:
        raise UserError(
            f"'{release}' has folders layer_N/width_W/average_l0_L (or /canonical), not '{folder}': {_has(release)}"
        )
    by_layer = _by_layer(known[release].get(found[2], {}))
    if int(found[1]) not in by_layer:
        raise UserError(f"'{release}' has no width {found[2]} at layer {found[1]}: {_has(release)}")
    explicit = found[3] and found[3] != "canonical"
    return f"{release}/layer_{found[1]}/width_{found[2]}/{found[3] if explicit else f'average_l0_{by_layer[int(found[1])]}'}"


def _second(release: str, folder: str) -> str:
    """Gemma Scope 2: repository and folder, or SAELens's release (`…-res`, `…-res-all`) and id."""
    found = re.fullmatch(r"(gemma-scope-2-(\w+)-(?:pt|it))(?:-(res|mlp|att)(-all)?)?", release)
    model = gemma_scope()["models2"].get(found[2]) if found else None
    if not found or not model:
        raise UserError(f"there is no '{release}': {_instead(release)}")
    if found[3]:
        folder = f"{SAELENS[found[3]]}{'_all' if found[4] else ''}/{folder}"
    site, _, name = folder.partition("/")
    layer = re.match(r"layer_(\d+(?:_\d+)*?)_width_", name)
    every = site.removesuffix("_all")
    subset = "_".join(map(str, model["subset"]))
    if every in FOLDERS and layer and "_" not in layer[1]:
        there = int(layer[1]) in (range(model["layers"]) if site.endswith("_all") else model["subset"])
    else:
        there = site in ("crosscoder", "transcoder", "transcoder_all", "clt")
    if not there:
        raise UserError(
            f"'{found[1]}' has no '{folder}': it has {{resid_post, mlp_out, attn_out}}/layer_N_width_{{16k, 65k, 262k}}_l0_"
            f"{{small, medium, big}} with N of {', '.join(map(str, model['subset']))} (…_all: every layer, widths 16k and 262k, "
            f"l0 small and big) and crosscoder/layer_{subset}_width_{{65k, 262k, 524k, 1m}}_l0_{{medium, big}}"
        )
    return f"{found[1]}/{folder}"


def _by_layer(entry: Any) -> dict[int, int]:
    return dict(enumerate(entry)) if isinstance(entry, list) else {int(layer): l0 for layer, l0 in entry.items()}


def _has(release: str) -> str:
    """Which widths a repository of Gemma Scope has at which layers."""
    parts = []
    for width, entry in gemma_scope()["canonical"][release].items():
        layers = "every layer" if isinstance(entry, list) else f"layer {', '.join(entry)}"
        parts.append(f"{width} at {layers}")
    return f"it has widths {'; '.join(parts)}"


def _instead(release: str) -> str:
    """What there is of the model that a wrong name is about."""
    words = re.split(r"[-_/]", release)
    size = next((word for word in words if word in gemma_scope()["models2"] or word in gemma_scope()["models"]), None)
    mine = [name for name in gemma_scope()["canonical"] if size in name.split("-")]
    second = [f"gemma-scope-2-{size}-{kind}" for kind in ("pt", "it")] if size in gemma_scope()["models2"] else []
    said = "Gemma Scope has no crosscoder of a base and a chat model. " if "crosscoder" in words else ""
    if not size or not (mine or second):
        return f"{said}There is {', '.join([*gemma_scope()['canonical'], 'gemma-scope-2-{270m, 1b, 4b, 12b, 27b}-{pt, it}'])}"
    described = [f"{name} ({_has(name).removeprefix('it has widths ')})" for name in mine]
    return f"{said}Of the {size} models there is {'; '.join([*described, *second])}"
