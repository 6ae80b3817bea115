"""Dictionaries that others trained, read into a `Crosscoder`, and crosscoders written for others to read.

A layout is one file of this package that has a `LAYOUT` (base.py); every such file is found by itself. What a folder holds is
told by the files in it; where two layouts fit, nothing is guessed.
"""

import copy
import importlib
import pkgutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

from crosscoder.errors import UserError
from crosscoder.formats import own
from crosscoder.formats.base import InputScale, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.where import locate
from crosscoder.model import Crosscoder

__all__ = ["export", "layouts", "load"]


@cache
def layouts() -> dict[str, Layout]:
    """Every layout by name."""
    modules = (importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return {module.LAYOUT.name: module.LAYOUT for module in modules if hasattr(module, "LAYOUT")}


def load(
    spec: str | Path, folder: str = "", *, layout: str | None = None, input_scale: InputScale = None
) -> Crosscoder:
    """A crosscoder (or SAE: one source) that eats raw activations, from whatever layout it was saved in. In eval mode.

    Args:
        spec: a local folder, `hf://owner/name[@revision]/folder`, or a short name, e.g.
            `gemma-scope-2b-pt-res/layer_12/width_16k/canonical`, `gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium`.
        folder: further down from there, as in SAELens's (release, id).
        layout: its name, where the files fit several.
        input_scale: factor (by source) that brings activations to the scale its weights read, for files that do not hold it.

    Returns:
        The crosscoder; `provenance` has layout, repo, revision, sha256 of each file, sources, hookpoint, norm and bos_excluded.

    Raises:
        UserError: there is nothing there, nothing known, or something that is no dictionary of activations.
    """
    asked = "/".join(filter(None, (str(spec).rstrip("/"), folder.strip("/"))))
    if layout is not None and layout not in layouts():
        raise UserError(f"no layout '{layout}'; there is {', '.join(layouts())}")
    patterns = {name for one in layouts().values() for name in (*one.files, *one.optional)} | set(own.FILES)
    place = locate(asked, sorted(patterns))
    for files in (place, replace(place, path=place.path / "crosscoder", digests={})):
        if layout is None and files.path.is_dir() and own.matches(files):
            crosscoder = Crosscoder.from_pretrained(files.path)
            crosscoder.provenance |= own.provenance(files)
            return crosscoder
    found = layouts()[layout] if layout else detect(place)
    if layout and not found.matches(place):
        raise UserError(
            f"{place.path} is not of the layout '{layout}', which has {', '.join(found.files) or found.optional}"
        )
    try:
        dictionary = found.read(place, input_scale)
        crosscoder = dictionary.crosscoder()
    except UserError as error:  # what files say may have line breaks
        said = " ".join(str(error).splitlines())
        raise UserError(said if str(place.path) in said else f"{place.path}: {said}") from error
    crosscoder.provenance = dictionary.provenance(place, found.name)
    return crosscoder


def detect(folder: Folder) -> Layout:
    """The one layout that a folder's files fit."""
    fitting = [one for one in layouts().values() if one.matches(folder)]
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(
        [*folder.names()[:8], *sorted(f"{sub.name}/" for sub in folder.path.iterdir() if sub.is_dir())[:8]]
    )
    if fitting:
        names = ", ".join(one.name for one in fitting)
        raise UserError(f"{folder.path} fits the layouts {names}: say which with layout=")
    if folder.has("W_enc_*.safetensors"):
        raise UserError(f"{folder.path} holds a cross-layer transcoder, which maps one site to others: not read")
    raise UserError(f"{folder.path} is of no known layout ({', '.join(layouts())}); it has {there or 'nothing'}")


def export(crosscoder: Crosscoder, layout: str, folder: str | Path) -> Path:
    """Write a crosscoder (folded first) in another layout, whole or not at all.

    Raises:
        UserError: the layout cannot hold this crosscoder, or is only read; or the folder is there already.
    """
    writable = {name: one.write for name, one in layouts().items() if one.write}
    if layout not in writable:
        raise UserError(f"crosscoders can be written as {', '.join(writable)}, not as '{layout}'")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already: nothing is overwritten")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        writable[layout](copy.deepcopy(crosscoder.fold()).cpu(), whole)
        whole.replace(folder)
    return folder
