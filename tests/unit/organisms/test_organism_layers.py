"""The models that `benchmarks.organism_layers` mixes, and the pair of noise of the organisms."""

import copy

import pytest
import torch

from benchmarks import organisms
from benchmarks.organism_layers import find_behaviour, mix_layers
from crosscoder.installation import find_conf
from crosscoder.io.tensors import read_tensors
from crosscoder.lm.architectures import get_layers
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.organisms.organism import FOLDER


@pytest.fixture
def models(tiny_pair):
    """Return a model, and a version whose decoder layers differ, as after finetuning with LoRA."""
    base = tiny_pair["base"]
    chat = copy.deepcopy(base)
    with torch.no_grad():
        for weight in get_layers(chat).parameters():
            weight.add_(0.1)
    return base, chat


def read_layer(model, layer):
    ids = torch.tensor([[3, 5, 7, 11]])
    hookpoint = Hookpoint(layer, "resid_post")
    return read(model, [hookpoint], ids)[hookpoint]


def test_a_mixed_model_has_the_lower_model_up_to_the_layer(models):
    base, chat = models
    mixed = mix_layers(base, chat, 0)
    torch.testing.assert_close(read_layer(mixed, 0), read_layer(base, 0))
    assert not torch.allclose(read_layer(mixed, 1), read_layer(base, 1))


def test_mixing_leaves_both_models_alone(models):
    base, chat = models
    before = read_layer(chat, 1)
    mix_layers(base, chat, 1)
    torch.testing.assert_close(read_layer(chat, 1), before)


def test_every_planted_organism_has_a_behaviour():
    for name in organisms.PLANTED:
        assert (find_conf() / "behaviour" / f"{find_behaviour(name)}.yaml").exists()


def test_noise_has_the_variance_of_the_adapter_and_nothing_else_of_it(tmp_path):
    adapter = FOLDER / "expertise" / "adapter"
    organisms.write_noise(adapter, tmp_path / "noise")
    trained = read_tensors(adapter / "adapter_model.safetensors")
    noise = read_tensors(tmp_path / "noise" / "adapter_model.safetensors")
    assert noise.keys() == trained.keys()
    for name, tensor in noise.items():
        drawn = tensor.float().flatten()
        learned = trained[name].float().flatten()
        assert drawn.std() == pytest.approx(float(learned.std()), rel=0.1)
        assert abs(float(torch.corrcoef(torch.stack([drawn, learned]))[0, 1])) < 0.1
