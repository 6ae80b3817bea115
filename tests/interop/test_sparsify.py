"""EleutherAI's sparsify itself: what it saves is read here."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.small import random_acts

sparsify = pytest.importorskip("sparsify")

D = 6


def saved(folder, **config) -> torch.nn.Module:
    """One of its sparse coders with random weights, saved."""
    made = sparsify.SparseCoder(D, sparsify.SparseCoderConfig(k=3, **config))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    made.save_to_disk(folder)
    return made


@pytest.mark.parametrize("size", [{"num_latents": 20}, {"expansion_factor": 4}])
def test_a_sparse_coder_codes_here_as_there(size, tmp_path):
    theirs = saved(tmp_path / "layers.3", **size)
    ours, acts = crosscoder.load(tmp_path / "layers.3"), random_acts(50, D)
    with torch.no_grad():
        top = theirs.encode(acts)
        f = torch.zeros(50, theirs.num_latents).scatter(1, top.top_indices, top.top_acts)
        code = ours.encode(acts)
        torch.testing.assert_close(code.to_dense(), f, atol=1e-5, rtol=1e-5)
        theirs_recon = theirs.decode(top.top_acts, top.top_indices)
        torch.testing.assert_close(ours.decode(code), theirs_recon, atol=1e-5, rtol=1e-5)
    assert (f > 0).sum(1).max() == 3
    assert ours.sources.items[0].hookpoint == "resid_post.3"


@pytest.mark.parametrize(
    ("hook", "place"), [("layers.3.mlp", "mlp_out.3"), ("layers.3", "resid_post.3")]
)
def test_a_run_names_its_folders_after_modules(hook, place, tmp_path):
    for folder in (tmp_path / hook, tmp_path / hook / "seed1"):
        saved(folder, num_latents=20)
        assert crosscoder.load(folder).sources.items[0].hookpoint == place


@pytest.mark.parametrize(
    "config", [{"transcode": True}, {"skip_connection": True}, {"activation": "groupmax"}]
)
def test_what_is_no_topk_autoencoder_is_refused(config, tmp_path):
    saved(tmp_path / "layers.3", num_latents=21, **config)
    with pytest.raises(UserError, match=r"transcoder|groupmax"):
        crosscoder.load(tmp_path / "layers.3")
