"""Load dictionaries of other libraries into a `Crosscoder`, and export crosscoders for them.

A layout is one file of `readers/` with a `LAYOUT` (base.py); no list names it. The files of a
folder decide its layout; where two layouts fit, the user must choose.
"""

import copy
import importlib
import pkgutil
from dataclasses import replace
from functools import cache
from pathlib import Path

from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import readers
from crosscoder.formats.base import Dictionary, Layout
from crosscoder.formats.folder import Folder
from crosscoder.formats.input_scale import InputScale
from crosscoder.formats.locate import find_folder
from crosscoder.formats.readers import own
from crosscoder.io.links import require_inside
from crosscoder.io.scratch import atomic_folder, require_new_folder
from crosscoder.terminal.escapes import escape_controls

__all__ = ["export", "list_layouts", "load"]

MAX_LISTED_FILES = 8  # in the message about a folder of unknown layout


@cache
def list_layouts() -> dict[str, Layout]:
    """Return every layout by name."""
    layouts = {}
    for file in pkgutil.iter_modules(readers.__path__):
        module = importlib.import_module(f"{readers.__name__}.{file.name}")
        if hasattr(module, "LAYOUT"):
            layouts[module.LAYOUT.name] = module.LAYOUT
    return layouts


def load(
    spec: str | Path,
    folder: str = "",
    *,
    layout: str | None = None,
    input_scale: InputScale = None,
    activation_module: str | None = None,
) -> Crosscoder:
    """Load a crosscoder (an SAE has one source) of any layout. It reads raw activations.

    The crosscoder is in eval mode.

    Args:
        spec: Local folder, `hf://owner/name[@revision]/folder`, or a short name, e.g.
            `gemma-scope-2b-pt-res/layer_12/width_16k/canonical`,
            `gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium`.
        folder: Path below `spec`, as in SAELens's (release, id).
        layout: Name of the layout, where the files fit several.
        input_scale: Factor (by source) that brings activations to the scale that the weights read,
            for files that do not hold it.
        activation_module: Module of an activation outside of the package, for a crosscoder that was
            saved here; see `Crosscoder.from_pretrained`.

    Returns:
        The crosscoder; `provenance` has layout, repo, revision, sha256 of each file, sources,
        hookpoint, norm and bos_excluded.

    Raises:
        UserError: There is nothing at this place, or its files have no known layout or cannot be
            read as a dictionary of activations.
    """
    _require_known(layout)
    steps = (str(spec).rstrip("/"), folder.strip("/"))
    place = find_folder("/".join(filter(None, steps)), _list_patterns())
    if layout is None:
        crosscoder = _load_own(place, activation_module)
        if crosscoder is not None:
            return crosscoder
    chosen = list_layouts()[layout] if layout else detect_layout(place)
    if layout and not chosen.matches(place):
        files = ", ".join(chosen.files) or chosen.optional
        raise UserError(f"{place.path} is not of the layout '{layout}', which has {files}")
    crosscoder, dictionary = _build(chosen, place, input_scale)
    crosscoder.provenance = dictionary.build_provenance(place, chosen.name)
    return crosscoder


def detect_layout(folder: Folder) -> Layout:
    """Return the one layout that a folder's files fit.

    Raises:
        UserError: No layout fits, or several do.
    """
    fitting = []
    first_error = None
    for layout in list_layouts().values():
        try:
            if layout.matches(folder):
                fitting.append(layout)
        except UserError as error:  # a file of another layout, or a damaged one
            first_error = first_error or error
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(layout.name for layout in fitting)
        raise UserError(f"{folder.path} fits the layouts {names}: choose one with layout=")
    if first_error:
        raise first_error
    if folder.has_file("W_enc_*.safetensors"):
        raise UserError(
            f"{folder.path} holds a cross-layer transcoder, "
            "which maps one site to others: not supported"
        )
    known = ", ".join(list_layouts())
    raise UserError(
        f"{folder.path} has no known layout ({known}); it has {_describe_content(folder)}"
    )


def export(
    crosscoder: Crosscoder, layout: str, folder: str | Path, *, form: str | None = None
) -> Path:
    """Write a crosscoder (folded first) in another layout, completely or not at all.

    Args:
        crosscoder: Crosscoder to write.
        layout: Name of the layout.
        folder: A new folder, or an empty one.
        form: Variant of the layout: `dictionary_learning` has `folded`, for packages before
            July 2025, and `dict_class`, for loaders that take the class from config.json
            (writers/dictionary_learning.py).

    Returns:
        The folder.

    Raises:
        UserError: The layout cannot hold this crosscoder, or can only be read; or the folder
            exists already.
    """
    writers = {name: one.write for name, one in list_layouts().items() if one.write}
    if layout not in writers:
        raise UserError(f"crosscoders can be written as {', '.join(writers)}, not as '{layout}'")
    write = writers[layout]
    if form is not None:
        forms = list_layouts()[layout].forms
        if form not in forms:
            known = ", ".join(forms) or "no further"
            raise UserError(f"'{layout}' has {known} forms, not '{form}'")
        write = forms[form]
    folder = Path(folder)
    require_new_folder(folder)
    with atomic_folder(folder) as complete:
        write(copy.deepcopy(crosscoder.fold()).cpu(), complete)
    return folder


def _require_known(layout: str | None) -> None:
    if layout is not None and layout not in list_layouts():
        raise UserError(f"no layout '{layout}'; there is {', '.join(list_layouts())}")


def _list_patterns() -> list[str]:
    """List the patterns of all layouts' files, for the download."""
    patterns: set[str] = set(own.FILES)
    for layout in list_layouts().values():
        patterns.update(layout.files, layout.optional)
    return sorted(patterns)


def _load_own(place: Folder, activation_module: str | None) -> Crosscoder | None:
    """Load a crosscoder of this project from its own folder or a run folder; None if neither."""
    # a run folder may be somebody else's
    require_inside(place.path, place.path / "crosscoder")
    inside_run = replace(place, path=place.path / "crosscoder", digests={})
    for files in (place, inside_run):
        if files.path.is_dir() and own.matches(files):
            crosscoder = Crosscoder.from_pretrained(files.path, activation_module)
            crosscoder.provenance |= own.build_provenance(files)
            return crosscoder
    return None


def _build(layout: Layout, place: Folder, input_scale: InputScale) -> tuple[Crosscoder, Dictionary]:
    """Read a folder; errors are one printable line that names it."""
    try:
        dictionary = layout.read_dictionary(place, input_scale)
        return dictionary.to_crosscoder(), dictionary
    except UserError as error:
        # text of the files may hold line breaks and control characters of a terminal
        message = escape_controls(" ".join(str(error).splitlines()))
        if str(place.path) not in message:
            message = f"{place.path}: {message}"
        raise UserError(message) from error


def _describe_content(folder: Folder) -> str:
    """List the first files and folders in a folder."""
    subfolders = sorted(f"{path.name}/" for path in folder.path.iterdir() if path.is_dir())
    names = [*folder.list_names()[:MAX_LISTED_FILES], *subfolders[:MAX_LISTED_FILES]]
    return ", ".join(names) or "nothing"
