"""Hostile files: oversized, endless, not regular, or with control characters."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from crosscoder.formats import list_layouts
from tests.unit.formats import folders
from tests.unit.formats.folders import assert_refused, find_tensor_file

pytestmark = pytest.mark.faults
every_layout = pytest.mark.parametrize("layout", list_layouts())


@every_layout
def test_a_pipe_in_place_of_a_file_does_not_block(layout, tmp_path):
    for i, name in enumerate(folders.build_files(layout)):
        folder = folders.write_folder(layout, tmp_path / str(i))
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with suppress(UserError):
            loaded = crosscoder.load(folder, input_scale=folders.INPUT_SCALE.get(layout))
            assert name not in loaded.provenance["sha256"]  # settings that need not be there


@every_layout
def test_a_folder_or_device_in_place_of_the_weights_is_refused(layout, tmp_path):
    name = find_tensor_file(folders.build_files(layout))
    for i, replace in enumerate((Path.mkdir, lambda path: path.symlink_to("/dev/zero"))):
        folder = folders.write_folder(layout, tmp_path / str(i))
        (folder / name).unlink()
        replace(folder / name)
        assert_refused(folder, input_scale=folders.INPUT_SCALE.get(layout))


def test_oversized_settings_are_refused(tmp_path):
    folder = folders.write_folder("saelens", tmp_path)
    with (folder / "cfg.json").open("r+b") as file:
        file.truncate(2**40)
    assert_refused(folder, "cfg.json cannot be read", "more than 64 MB")


@pytest.mark.parametrize("layout", ["saelens", "kissane", "dictionary_learning_sae"])
def test_weights_larger_than_memory_are_refused(layout, tmp_path):
    """Refuse the size in the header of a sparse file, which takes no space on disk."""
    folder = folders.write_folder(layout, tmp_path)
    name = find_tensor_file(folders.build_files(layout))
    with (folder / name).open("r+b") as file:
        file.truncate(2**42)
    assert_refused(folder, name, input_scale=folders.INPUT_SCALE.get(layout))


def test_arrays_that_decompress_beyond_memory_are_refused(tmp_path, monkeypatch):
    folder = folders.write_folder("gemma_scope", tmp_path)
    np.savez_compressed(folder / "params.npz", W_enc=np.zeros((2000, 2000)))
    memory = 2**20
    assert (folder / "params.npz").stat().st_size < memory
    monkeypatch.setattr(
        "crosscoder.formats.tensor_files.os.sysconf",
        lambda name: {"SC_PAGE_SIZE": 1}.get(name, memory),
    )
    assert_refused(folder, "params.npz", "memory")


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize(
    "grown",
    [
        lambda: torch.ones(1).expand(6),
        lambda: torch.as_strided(torch.ones(2), (4, 6), (0, 0)),
        lambda: torch.sparse_coo_tensor(size=(10**6, 10**6)),
    ],
    ids=["repeated", "strided", "sparse"],
)
def test_a_tensor_larger_than_its_storage_is_refused(grown, tmp_path):
    files = folders.kissane()
    files["cc_weights.pt"]["b_enc"] = grown()
    assert_refused(folders.write(tmp_path, files), "cc_weights.pt", "'b_enc'", input_scale=0.5)


def test_a_view_of_a_larger_tensor_is_read(tmp_path):
    files = folders.kissane()
    files["cc_weights.pt"]["b_enc"] = torch.arange(12.0)[::2]
    loaded = crosscoder.load(folders.write(tmp_path, files), input_scale=1.0)
    assert loaded.b_enc.tolist() == [0, 2, 4, 6, 8, 10]


JSON = [layout for layout in list_layouts() if ".json" in " ".join(folders.build_files(layout))]


@pytest.mark.parametrize("layout", JSON)
@pytest.mark.parametrize(
    "text", ['{"a": "\\ud800"}', '{"\\udfff": 1}', '{"a": ' * 100_000, '{"a": ' + "9" * 5000 + "}"]
)
def test_invalid_unicode_and_endless_json_are_refused_in_one_line(layout, text, tmp_path):
    folder = folders.write_folder(layout, tmp_path)
    name = next(name for name in folders.build_files(layout) if name.endswith(".json"))
    (folder / name).write_text(text)
    assert_refused(folder, name, input_scale=folders.INPUT_SCALE.get(layout))


WORDS = {
    "saelens": "architecture",
    "dictionary_learning": "dict_class",
    "openmoss_sae": "act_fn",
    "openmoss": "act_fn",
}


@pytest.mark.parametrize("layout", WORDS)
@pytest.mark.parametrize(
    "text", ["\x1b[31mred\x1b[0m", "[red]x[/red]", "\x07", "\u202egnp.exe", "a\rb", "\x9b31m"]
)
def test_control_characters_in_settings_are_escaped(layout, text, tmp_path):
    files = folders.build_files(layout)
    if layout == "dictionary_learning":
        files["trainer_config.json"]["trainer"][WORDS[layout]] = text
    else:
        files[next(name for name in files if name.endswith(".json"))][WORDS[layout]] = text
    with pytest.raises(UserError, match=WORDS[layout]) as error:
        crosscoder.load(folders.write(tmp_path, files))
    assert str(error.value).isprintable()


def test_control_characters_in_tensor_names_are_escaped(tmp_path):
    files = folders.kissane()
    files["cc_weights.pt"]["\x1b[2Jx\n"] = torch.ones(3)
    with pytest.raises(UserError, match=r"also holds '\\x1b\[2Jx\\n'") as error:
        crosscoder.load(folders.write(tmp_path, files), input_scale=0.5)
    assert str(error.value).isprintable()
