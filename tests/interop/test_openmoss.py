"""Files saved by OpenMOSS's llamascopium, with averages that were measured or never set."""

import json
import warnings
from pathlib import Path

import pytest
import torch

import crosscoder
from tests.helpers.small import random_acts

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own imports
    pytest.importorskip("llamascopium")
    from llamascopium.models.crosscoder import Crosscoder, CrosscoderConfig
    from llamascopium.models.sae import SAEConfig, SparseAutoEncoder

D = 6
HOOKS = ["blocks.3.hook_resid_post", "blocks.7.hook_resid_post"]
AVERAGES = {HOOKS[0]: 2.0, HOOKS[1]: 11.0}
COMMON = {"d_model": D, "expansion_factor": 4, "device": "cpu", "dtype": torch.float32, "top_k": 3}


def randomise(made: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def save(made: torch.nn.Module, folder: Path, is_measured: bool) -> Path:
    """Written by its own code, which leaves averages that were not measured to chance."""
    if is_measured:
        made.set_dataset_average_activation_norm(
            {hook: AVERAGES[hook] for hook in made.cfg.associated_hook_points}
        )
    made.save_pretrained(folder)
    made.cfg.save_hyperparameters(folder)
    assert json.loads((folder / "config.json").read_text())["d_model"] == D
    return folder


def normalise(made: torch.nn.Module, acts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations as its encode reads them, and the factors."""
    if made.cfg.norm_activation != "dataset-wise":
        return acts, torch.ones(len(made.cfg.hooks_in), 1)
    factors = torch.tensor([D**0.5 / AVERAGES[hook] for hook in made.cfg.hooks_in])[:, None]
    return acts * factors, factors


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["dataset-wise", "inference"])
@pytest.mark.parametrize("act", ["relu", "jumprelu", "topk"])
@pytest.mark.parametrize("weighed", [True, False])
def test_an_sae_codes_here_as_there(act, norm, weighed, tmp_path):
    made = SAEConfig(
        hook_point_in=HOOKS[0],
        hook_point_out=HOOKS[0],
        act_fn=act,
        norm_activation=norm,
        sparsity_include_decoder_norm=weighed,
        **COMMON,
    )
    theirs = randomise(SparseAutoEncoder(made))
    ours = crosscoder.load(save(theirs, tmp_path / "sae", is_measured=norm == "dataset-wise"))
    acts = random_acts(50, D)
    read, factors = normalise(theirs, acts[:, None])
    with torch.no_grad():
        f, code = theirs.encode(read[:, 0]), ours.encode(acts)
        torch.testing.assert_close(code.to_dense(), f, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            ours.decode(code), theirs.decode(f) / factors[0], atol=1e-4, rtol=1e-4
        )
    assert 0 < (f > 0).sum() < f.numel()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", ["dataset-wise", "inference"])
@pytest.mark.parametrize("act", ["relu", "jumprelu"])
def test_a_crosscoder_reconstructs_here_as_there(act, norm, tmp_path):
    theirs = randomise(
        Crosscoder(CrosscoderConfig(hook_points=HOOKS, act_fn=act, norm_activation=norm, **COMMON))
    )
    ours = crosscoder.load(
        save(theirs, tmp_path / "crosscoder", is_measured=norm == "dataset-wise")
    )
    acts = random_acts(50, 2 * D).view(50, 2, D)
    read, factors = normalise(theirs, acts)
    with torch.no_grad():
        f, code = theirs.encode(read), ours.encode(acts.flatten(1))
        recon = theirs.decode(f) / factors
        torch.testing.assert_close(ours.decode(code), recon.flatten(1), atol=1e-4, rtol=1e-4)
        ours_f = code.to_dense()
        torch.testing.assert_close(
            ours_f, f.flatten(1) if ours_f.shape[1] > f.shape[2] else f[:, 0], atol=1e-5, rtol=1e-5
        )
    assert 0 < (f > 0).sum() < f.numel()
