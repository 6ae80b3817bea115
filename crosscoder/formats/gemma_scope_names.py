"""Describe for messages what Gemma Scope's repositories hold."""

import re
from collections.abc import Mapping
from typing import Any

from crosscoder.formats.gemma_scope_table import SITES, load_gemma_scope


def describe_folders(model: Mapping[str, Any]) -> str:
    """Describe the folders of a Gemma Scope 2 repository for a message."""
    subset = model["subset"]
    crosscoder_layers = "_".join(map(str, subset))
    sites = ", ".join(SITES)
    return (
        f"{{{sites}}}/layer_N_width_{{16k, 65k, 262k}}_l0_{{small, medium, big}} "
        f"with N in {', '.join(map(str, subset))} "
        "(…_all: every layer, widths 16k and 262k, l0 small and big) "
        f"and crosscoder/layer_{crosscoder_layers}_width_{{65k, 262k, 524k, 1m}}_l0_{{medium, big}}"
    )


def describe_widths(release: str) -> str:
    """Describe the widths of a Gemma Scope repository and their layers for a message."""
    descriptions = []
    for width, entry in load_gemma_scope()["canonical"][release].items():
        layers = "every layer" if isinstance(entry, list) else f"layer {', '.join(entry)}"
        descriptions.append(f"{width} at {layers}")
    return "; ".join(descriptions)


def describe_alternatives(release: str) -> str:
    """List the repositories for the model that an unknown release name is about."""
    table = load_gemma_scope()
    words = re.split(r"[-_/]", release)
    sizes = [word for word in words if word in table["models2"] or word in table["models"]]
    alternatives = _list_repositories(sizes[0]) if sizes else []
    if alternatives:
        sentence = f"For the {sizes[0]} models there is {'; '.join(alternatives)}"
    else:
        every = [*table["canonical"], "gemma-scope-2-{270m, 1b, 4b, 12b, 27b}-{pt, it}"]
        sentence = f"There is {', '.join(every)}"
    if "crosscoder" in words:
        return f"Gemma Scope has no crosscoder of a base and a chat model. {sentence}"
    return sentence


def _list_repositories(size: str) -> list[str]:
    """List Gemma Scope's repositories for a model size, with their widths."""
    table = load_gemma_scope()
    repositories = []
    for name in table["canonical"]:
        if size in name.split("-"):
            repositories.append(f"{name} ({describe_widths(name)})")
    if size in table["models2"]:
        repositories += [f"gemma-scope-2-{size}-pt", f"gemma-scope-2-{size}-it"]
    return repositories
