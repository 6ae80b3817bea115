"""Files that would run something where they are read: nothing in them is run, and one line says what is wrong."""

import pickle

import numpy as np
import pytest
import torch
import yaml

from crosscoder.formats import layouts
from tests.unit.formats import folders
from tests.unit.formats.folders import refused, tensor_file
from tests.unit.formats.spoiling import Bomb

pytestmark = pytest.mark.faults


def test_the_bomb_of_these_tests_goes_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "pickle")))
    torch.save({"bomb": Bomb(tmp_path / "torch")}, tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    np.savez(tmp_path / "bomb.npz", bomb=np.array([Bomb(tmp_path / "numpy")], dtype=object))
    with np.load(tmp_path / "bomb.npz", allow_pickle=True) as file:
        assert len(file["bomb"]) == 1
    assert all((tmp_path / name).exists() for name in ("pickle", "torch", "numpy"))


@pytest.mark.parametrize("layout", [name for name in layouts() if tensor_file(folders.files(name)).endswith(".pt")])
@pytest.mark.parametrize("bare", [False, True])
def test_no_pickle_is_run(layout, bare, tmp_path):
    folder, sentinel = folders.made(layout, tmp_path / "it"), tmp_path / "sentinel"
    file = folder / tensor_file(folders.files(layout))
    if bare:
        file.write_bytes(pickle.dumps(Bomb(sentinel)))
    else:
        torch.save(torch.load(file) | {"bomb": Bomb(sentinel)}, file)
    refused(folder, file.name, "cannot be read", input_scale=folders.INPUT_SCALE.get(layout))
    assert not sentinel.exists()


@pytest.mark.parametrize("bare", [False, True])
def test_no_array_of_objects_is_read(bare, tmp_path):
    folder, sentinel = folders.made("gemma_scope", tmp_path / "it"), tmp_path / "sentinel"
    if bare:
        (folder / "params.npz").write_bytes(pickle.dumps(Bomb(sentinel)))
    else:
        np.savez(folder / "params.npz", W_enc=np.array([Bomb(sentinel)], dtype=object))
    refused(folder, "params.npz", "cannot be read")
    assert not sentinel.exists()


YAML = ["!!python/object/apply:os.mkdir [{}]", "!!python/object/new:os.mkdir [{}]", "!!python/name:os.mkdir ''"]


@pytest.mark.parametrize("value", YAML)
def test_no_yaml_tag_is_followed(value, tmp_path):
    folder, sentinel = folders.made("crosscode", tmp_path / "it"), tmp_path / "sentinel"
    text = f"n_models: {value.format(sentinel)}\n"
    (folder / "model_cfg.yaml").write_text(text)
    refused(folder, "model_cfg.yaml", "cannot be read")
    assert not sentinel.exists()
    if value == YAML[0]:  # which others would follow
        yaml.unsafe_load(text)
        assert sentinel.exists()
