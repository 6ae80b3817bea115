"""Files with code in them are refused in one line, and nothing is executed."""

import pickle

import numpy as np
import pytest
import torch
import yaml

from crosscoder.formats import list_layouts
from tests.unit.formats import folders
from tests.unit.formats.folders import assert_refused, find_tensor_file
from tests.unit.formats.spoiling import Bomb

pytestmark = pytest.mark.faults


def test_the_bomb_of_these_tests_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "pickle")))
    torch.save({"bomb": Bomb(tmp_path / "torch")}, tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    np.savez(tmp_path / "bomb.npz", bomb=np.array([Bomb(tmp_path / "numpy")], dtype=object))
    with np.load(tmp_path / "bomb.npz", allow_pickle=True) as file:
        assert len(file["bomb"]) == 1
    assert all((tmp_path / name).exists() for name in ("pickle", "torch", "numpy"))


@pytest.mark.parametrize(
    "layout",
    [name for name in list_layouts() if ".pt" in find_tensor_file(folders.build_files(name))],
)
@pytest.mark.parametrize("bare", [False, True])
def test_pickles_are_not_executed(layout, bare, tmp_path):
    folder, sentinel = folders.write_folder(layout, tmp_path / "it"), tmp_path / "sentinel"
    file = folder / find_tensor_file(folders.build_files(layout))
    if bare:
        file.write_bytes(pickle.dumps(Bomb(sentinel)))
    else:
        torch.save(torch.load(file) | {"bomb": Bomb(sentinel)}, file)
    assert_refused(folder, file.name, "cannot be read", input_scale=folders.INPUT_SCALE.get(layout))
    assert not sentinel.exists()


@pytest.mark.parametrize("bare", [False, True])
def test_object_arrays_are_refused(bare, tmp_path):
    folder, sentinel = folders.write_folder("gemma_scope", tmp_path / "it"), tmp_path / "sentinel"
    if bare:
        (folder / "params.npz").write_bytes(pickle.dumps(Bomb(sentinel)))
    else:
        np.savez(folder / "params.npz", W_enc=np.array([Bomb(sentinel)], dtype=object))
    assert_refused(folder, "params.npz", "cannot be read")
    assert not sentinel.exists()


YAML = [
    "!!python/object/apply:os.mkdir [{}]",
    "!!python/object/new:os.mkdir [{}]",
    "!!python/name:os.mkdir ''",
]


@pytest.mark.parametrize("value", YAML)
def test_yaml_tags_are_refused(value, tmp_path):
    folder, sentinel = folders.write_folder("crosscode", tmp_path / "it"), tmp_path / "sentinel"
    text = f"n_models: {value.format(sentinel)}\n"
    (folder / "model_cfg.yaml").write_text(text)
    assert_refused(folder, "model_cfg.yaml", "cannot be read")
    assert not sentinel.exists()
    if value == YAML[0]:  # which others would follow
        yaml.unsafe_load(text)
        assert sentinel.exists()
