"""An activation in a module outside of the package is trained, folded, saved and loaded."""

import importlib
import json
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

import crosscoder
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts

SOURCE = '''
"""Every latent above a fixed threshold."""

from crosscoder.core.activations import Activation, Requirements
from crosscoder.core.sparse import index_or_mask


class Above(Activation):
    requirements = Requirements()

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def select(self, pre, scale):
        return index_or_mask(pre > self.threshold)

    def arguments(self):
        return {"threshold": self.threshold}
'''
NAME = "outside_package.above_threshold"


@pytest.fixture
def module(tmp_path, monkeypatch) -> Iterator[ModuleType]:
    """Write a user's package with one activation."""
    package = tmp_path / "outside_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "above_threshold.py").write_text(SOURCE)
    (package / "topk.py").write_text(SOURCE)
    (package / "empty.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module(NAME)
    for name in list(sys.modules):
        if name.startswith("outside_package"):
            del sys.modules[name]


@pytest.fixture
def trained(module) -> Crosscoder:
    """Return a crosscoder after one step of gradient descent."""
    trained = crosscoder_of(module.Above(0.25)).train()
    acts = random_acts(64, trained.sources.d_total)
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
    (acts - trained(acts).recon).square().mean().backward()
    optimizer.step()
    return trained.eval()


@pytest.mark.parametrize("load", [Crosscoder.from_pretrained, crosscoder.load])
def test_it_loads_when_the_user_names_its_module(trained, tmp_path, load):
    folder = trained.save_pretrained(tmp_path / "saved")
    loaded = load(folder, activation_module=NAME)
    assert type(loaded.activation) is type(trained.activation)
    acts = random_acts(32, trained.sources.d_total)
    assert torch.equal(loaded.encode(acts).to_dense(), trained.fold().encode(acts).to_dense())


def test_its_spec_is_plain_json_without_a_module(trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "saved")
    spec = json.loads((folder / "config.json").read_text())["activation"]
    assert spec == {"name": "above_threshold", "threshold": 0.25}


def test_it_is_refused_if_its_module_is_not_named(trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "saved")
    with pytest.raises(UserError, match=r"unknown activation 'above_threshold'.*activation_module"):
        Crosscoder.from_pretrained(folder)
    with pytest.raises(UserError, match=r"unknown activation 'above_threshold'.*another name"):
        Crosscoder.from_pretrained(folder, activation_module="outside_package.other")


@pytest.mark.parametrize("activation_module", [None, NAME])
def test_a_file_cannot_name_a_module(trained, tmp_path, activation_module):
    folder = trained.save_pretrained(tmp_path / "saved")
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["activation"]["name"] = NAME
    config.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"unknown activation '{NAME}'"):
        Crosscoder.from_pretrained(folder, activation_module)


def test_an_activation_of_the_package_needs_no_module(module, tmp_path):
    from crosscoder.core.activations.topk import TopK

    folder = crosscoder_of(TopK(3)).save_pretrained(tmp_path / "saved")
    assert isinstance(Crosscoder.from_pretrained(folder, NAME).activation, TopK)


def test_a_module_with_the_name_of_an_activation_of_the_package_cannot_be_saved(module, tmp_path):
    same_name = importlib.import_module("outside_package.topk")
    with pytest.raises(UserError, match="'topk' names an activation of the package; rename"):
        crosscoder_of(same_name.Above()).save_pretrained(tmp_path / "saved")


@pytest.mark.parametrize(
    ("activation_module", "message"),
    [
        ("outside_package.empty", "expected one subclass of Activation in module .*, found 0"),
        ("outside_package.missing", "cannot import the activation's module"),
    ],
)
def test_a_module_without_an_activation_says_so(trained, tmp_path, activation_module, message):
    folder = trained.save_pretrained(tmp_path / "saved")
    config = folder / "config.json"
    content = json.loads(config.read_text())
    content["activation"]["name"] = activation_module.rpartition(".")[2]
    config.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        Crosscoder.from_pretrained(folder, activation_module)


@pytest.mark.parametrize(
    ("file", "name"), [("/a/my_script.py", "my_script"), (None, "__main__")], ids=["script", "none"]
)
def test_an_activation_of_a_script_is_saved_under_the_scripts_name(module, monkeypatch, file, name):
    main = ModuleType("__main__")
    if file is not None:  # a notebook has no file
        main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)
    monkeypatch.setattr(module.Above, "__module__", "__main__")
    assert module.Above().spec()["name"] == name
