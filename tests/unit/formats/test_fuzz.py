"""Whatever happens to the files of any layout: a crosscoder of finite numbers comes out, or one line that names the folder."""

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
from crosscoder.formats import layouts
from tests.small import random_acts
from tests.unit.formats import folders
from tests.unit.formats.spoiling import one_of, spoil_bytes, spoil_settings, spoil_tensors

every_layout = pytest.mark.parametrize("layout", layouts())
TEXT = {".json": json.dumps, ".yaml": yaml.safe_dump}


def loads(folder: Path, layout: str, named: bool = False) -> bool:
    """Whether it loads; then every number that comes out is finite. Else the reason is one line that names the folder."""
    given, said = folders.INPUT_SCALE.get(layout), None
    try:
        with warnings.catch_warnings():  # this package's own name the folder, too
            warnings.filterwarnings("ignore", re.escape(str(folder)), UserWarning)
            loaded = crosscoder.load(folder, layout=layout if named else None, input_scale=given)
    except UserError as error:
        said = str(error)
    if said is not None:
        assert "\n" not in said
        assert str(folder) in said
        return False
    acts = random_acts(8, loaded.sources.d_total)
    code = loaded.encode(acts)
    assert code.to_dense().isfinite().all()
    assert loaded.decode(code).isfinite().all()
    json.dumps(loaded.provenance)
    return True


def names(layout: str, settings: bool) -> list[str]:
    """A layout's files of settings, or of tensors."""
    return [name for name in folders.files(layout) if (Path(name).suffix in TEXT) == settings]


@every_layout
def test_an_unspoilt_folder_loads(layout, tmp_path):
    assert loads(folders.made(layout, tmp_path), layout)
    assert crosscoder.load(tmp_path, input_scale=folders.INPUT_SCALE.get(layout)).provenance["layout"] == layout


@every_layout
@given(data=st.data())
def test_bytes_that_changed(layout, data):
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders.made(layout, Path(scratch))
        file = folder / one_of(data.draw, *folders.files(layout))
        file.write_bytes(spoil_bytes(data.draw, file.read_bytes()))
        loads(folder, layout, named=data.draw(st.booleans()))


@pytest.mark.parametrize("layout", [layout for layout in layouts() if names(layout, settings=True)])
@given(data=st.data())
def test_settings_that_changed(layout, data):
    files = folders.files(layout)
    name = one_of(data.draw, *names(layout, settings=True))
    with tempfile.TemporaryDirectory() as scratch:
        folder = folders.write(Path(scratch), files)
        text = TEXT[Path(name).suffix](spoil_settings(data.draw, files[name]))
        (folder / name).write_text(text, encoding="utf-8")
        loads(folder, layout, named=data.draw(st.booleans()))


@every_layout
@given(data=st.data())
def test_tensors_that_changed(layout, data):
    files = folders.files(layout)
    spoil_tensors(data.draw, files[one_of(data.draw, *names(layout, settings=False))])
    with tempfile.TemporaryDirectory() as scratch:
        loads(folders.write(Path(scratch), files), layout, named=data.draw(st.booleans()))
