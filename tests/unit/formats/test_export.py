"""Crosscoders written for others: what their formula makes of the file, what comes back, what is refused."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import crosscoder
from crosscoder.activations import Activation
from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.activations.jumprelu import JumpReLU
from crosscoder.activations.relu import ReLU
from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.model import Crosscoder
from tests.small import crosscoder_of, random_acts

MEAN, SCALE = torch.linspace(-3, 3, 12), torch.tensor([0.5] * 6 + [4.0] * 6)


def made(activation: Activation) -> Crosscoder:
    """In training units far from raw ones; BatchTopK's threshold keeps about a fifth of the entries."""
    result = crosscoder_of(activation)
    result.set_units(MEAN, SCALE)
    if isinstance(activation, BatchTopK):
        activation.threshold.fill_(1.5)
    return result.eval()


@pytest.fixture
def raw() -> Tensor:
    return random_acts(60, 12) * SCALE + MEAN


def their_formula(folder: Path, raw: Tensor) -> tuple[Tensor, Tensor]:
    """(f, x̂) as dictionary_learning computes them from its file, in float64."""
    file = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    mean, std = file["activation_mean"], file["activation_std"]
    s = file["target_rms"] / (std.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(s[:, 0], file["activation_global_scale"])
    x = (raw.double().view(len(raw), *mean.shape) - mean) * s
    r = (torch.einsum("bmd,mdf->bf", x, file["encoder.weight"]) + file["encoder.bias"]).relu()
    assert file["code_normalization_id"] == 1
    n = file["decoder.weight"].norm(dim=-1).sum(0)
    f = r.where(r * n > file["threshold"], 0) if "threshold" in file else r
    recon = torch.einsum("bf,mfd->bmd", f, file["decoder.weight"]) + file["decoder.bias"]
    return f, (recon / (s + 1e-8) + mean).flatten(1)


@pytest.mark.parametrize("activation", [BatchTopK(4), ReLU()], ids=["batch_topk", "relu"])
def test_dictionary_learning_computes_what_the_crosscoder_does(activation, raw, tmp_path):
    ours = made(activation)
    f, recon = their_formula(crosscoder.export(ours, "dictionary_learning", tmp_path / "out"), raw)
    folded = ours.fold()
    code = folded.encode(raw)
    assert 0.1 < (f > 0).double().mean() < 0.7
    torch.testing.assert_close(code.to_dense().double(), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded.decode(code).double(), recon, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
@pytest.mark.parametrize("activation", [BatchTopK(4), ReLU()], ids=["batch_topk", "relu"])
def test_what_was_written_comes_back(activation, layout, raw, tmp_path):
    before = made(activation).fold()
    before.provenance = {"pair": {"lms": {name: {"weights": f"google/gemma-2-2b{end}"} for name, end in PAIR.items()}}}
    after = crosscoder.load(crosscoder.export(before, layout, tmp_path / "out"))
    assert after.sources.names == ("base", "chat")
    assert after.sources.contrast == ("chat", "base")
    assert [source.hookpoint for source in after.sources] == ["resid_post.1"] * 2
    one, two = before.encode(raw), after.encode(raw)
    torch.testing.assert_close(two.to_dense(), one.to_dense(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.decode(two), before.decode(one), atol=1e-4, rtol=1e-5)
    if layout == "dictionary_learning":  # which knows training units, and whose models they are
        torch.testing.assert_close(after.mean, MEAN)
        torch.testing.assert_close(after.scale, SCALE)
        torch.testing.assert_close(after.decoder_norms(), before.decoder_norms())
        assert after.provenance["pair"]["lms"] == before.provenance["pair"]["lms"]


PAIR = {"base": "", "chat": "-it"}


def test_top_k_comes_back_with_its_selection_scale_in_the_weights(raw, tmp_path):
    before = made(TopK(4)).fold()
    after = crosscoder.load(crosscoder.export(before, "saelens", tmp_path / "out"))
    one, two = before.encode(raw), after.encode(raw)
    n = before.selection_scale
    torch.testing.assert_close(two.to_dense(), one.to_dense() * n, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.decode(two), before.decode(one), atol=1e-4, rtol=1e-5)
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert (config["architecture"], config["k"], config["metadata"]["widths"]) == ("topk", 4, [6, 6])


def test_a_latent_that_writes_nothing_is_never_active(raw, tmp_path):
    ours = made(BatchTopK(4))
    with torch.no_grad():
        ours.W_dec[3] = 0  # then θ / n is infinite
    f, _ = their_formula(crosscoder.export(ours, "dictionary_learning", tmp_path / "dictionary_learning"), raw)
    crosscoder.export(ours, "saelens", tmp_path / "saelens")
    for loaded in (ours.fold(), *(crosscoder.load(tmp_path / name) for name in ("dictionary_learning", "saelens"))):
        torch.testing.assert_close(loaded.encode(raw).to_dense().double(), f, atol=1e-5, rtol=1e-5)


def uneven() -> Crosscoder:
    return crosscoder_of(ReLU(), widths=(5, 7)).fold()


def by_dimension() -> Crosscoder:
    result = crosscoder_of(ReLU())
    result.set_units(MEAN, torch.linspace(1, 2, 12))
    return result


def by_latent() -> Crosscoder:
    return crosscoder_of(JumpReLU.of(torch.linspace(0.1, 2, 24))).fold()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: made(TopK(4)), "one threshold or not at all, not by topk"),
        (uneven, r"streams of one width, not \[base, chat\] of width 5, 7"),
        (by_dimension, "one scale for each model"),
        (by_latent, "one threshold for all latents"),
    ],
)
def test_what_dictionary_learning_cannot_hold_is_refused(build, message, tmp_path):
    with pytest.raises(UserError, match=message):
        crosscoder.export(build(), "dictionary_learning", tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["gemma_scope", "onnx", ""])
def test_a_layout_that_nothing_is_written_in_is_refused(layout, tmp_path):
    with pytest.raises(UserError, match=f"written as dictionary_learning, saelens, not as '{layout}'"):
        crosscoder.export(uneven(), layout, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
def test_nothing_is_overwritten_but_an_empty_folder_is_filled(layout, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UserError, match=f"{name} is there already"):
            crosscoder.export(made(ReLU()), layout, tmp_path / name)
    assert (tmp_path / "full" / "precious").read_text() == (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert crosscoder.load(crosscoder.export(made(ReLU()), layout, tmp_path / "empty")).n_latents == 24


@pytest.mark.faults
@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
def test_a_disk_that_fills_up_leaves_nothing(layout, tmp_path, monkeypatch):
    def full(self: Path, *_, **__) -> None:
        assert any(self.parent.iterdir())  # the weights are there already
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        crosscoder.export(made(ReLU()), layout, tmp_path / "out")
    assert not any(tmp_path.iterdir())
