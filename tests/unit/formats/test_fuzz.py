"""Damaged files of every layout load with finite numbers, or are refused in one line."""

import json
import re
import tempfile
import warnings
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import list_layouts
from tests.helpers.small import random_acts
from tests.unit.formats import folders
from tests.unit.formats.spoiling import one_of, spoil_bytes, spoil_settings, spoil_tensors

every_layout = pytest.mark.parametrize("layout", list_layouts())
TEXT = {".json": json.dumps, ".yaml": yaml.safe_dump}


def loads(folder: Path, layout: str, named: bool = False) -> bool:
    """Tell whether a folder loads, and check its numbers or its one-line error."""
    input_scale = folders.INPUT_SCALE.get(layout)
    message = None
    try:
        with warnings.catch_warnings():  # warnings of this package name the folder, too
            warnings.filterwarnings("ignore", re.escape(str(folder)), UserWarning)
            loaded = crosscoder.load(
                folder, layout=layout if named else None, input_scale=input_scale
            )
    except UserError as error:
        message = str(error)
    if message is not None:
        assert "\n" not in message
        assert str(folder) in message
        return False
    acts = random_acts(8, loaded.sources.d_total)
    code = loaded.encode(acts)
    assert code.to_dense().isfinite().all()
    assert loaded.decode(code).isfinite().all()
    json.dumps(loaded.provenance)
    return True


def names(layout: str, settings: bool) -> list[str]:
    """Return the names of a layout's files of settings, or of tensors."""
    return [name for name in folders.build_files(layout) if (Path(name).suffix in TEXT) == settings]


@every_layout
def test_a_valid_folder_loads(layout, tmp_path):
    folder = folders.write_folder(layout, tmp_path)
    assert loads(folder, layout)
    assert (
        crosscoder.load(folder, input_scale=folders.INPUT_SCALE.get(layout)).provenance["layout"]
        == layout
    )


@every_layout
@given(data=st.data())
def test_changed_bytes_load_or_are_refused(layout, data):
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders.write_folder(layout, Path(scratch))
        file = folder / one_of(data.draw, *folders.build_files(layout))
        file.write_bytes(spoil_bytes(data.draw, file.read_bytes()))
        loads(folder, layout, named=data.draw(st.booleans()))


@pytest.mark.parametrize(
    "layout", [layout for layout in list_layouts() if names(layout, settings=True)]
)
@given(data=st.data())
def test_changed_settings_load_or_are_refused(layout, data):
    files = folders.build_files(layout)
    name = one_of(data.draw, *names(layout, settings=True))
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders.write(folders.find_folder(Path(scratch), layout), files)
        text = TEXT[Path(name).suffix](spoil_settings(data.draw, files[name]))
        (folder / name).write_text(text, encoding="utf-8")
        loads(folder, layout, named=data.draw(st.booleans()))


@every_layout
@given(data=st.data())
def test_changed_tensors_load_or_are_refused(layout, data):
    files = folders.build_files(layout)
    spoil_tensors(data.draw, files[one_of(data.draw, *names(layout, settings=False))])
    with tempfile.TemporaryDirectory() as scratch:
        loads(
            folders.write(folders.find_folder(Path(scratch), layout), files),
            layout,
            named=data.draw(st.booleans()),
        )
