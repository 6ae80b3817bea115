"""Exported crosscoders: the other library's formula, round trips, and refusals."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import crosscoder
from crosscoder.core.activations import Activation
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.jumprelu import JumpReLU
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts

MEAN, SCALE = torch.linspace(-3, 3, 12), torch.tensor([0.5] * 6 + [4.0] * 6)


def build_crosscoder(activation: Activation) -> Crosscoder:
    """Build a crosscoder with training units; BatchTopK keeps about a fifth of the entries."""
    result = crosscoder_of(activation)
    result.set_units(MEAN, SCALE)
    if isinstance(activation, BatchTopK):
        activation.threshold.fill_(1.5)
    return result.eval()


@pytest.fixture
def raw() -> Tensor:
    return random_acts(60, 12) * SCALE + MEAN


def their_formula(folder: Path, raw: Tensor) -> tuple[Tensor, Tensor]:
    """Compute (f, x̂) as dictionary_learning does from its file, in float64."""
    file = {
        name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()
    }
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
def test_dictionary_learning_computes_the_same_as_the_crosscoder(activation, raw, tmp_path):
    ours = build_crosscoder(activation)
    f, recon = their_formula(crosscoder.export(ours, "dictionary_learning", tmp_path / "out"), raw)
    folded = ours.fold()
    code = folded.encode(raw)
    assert 0.1 < (f > 0).double().mean() < 0.7
    torch.testing.assert_close(code.to_dense().double(), f, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded.decode(code).double(), recon, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("activation", [BatchTopK(4), ReLU()], ids=["batch_topk", "relu"])
def test_the_folded_form_reads_raw_activations_and_multiplies_its_code_by_n(
    activation, raw, tmp_path
):
    """Every package since May 2025 computes r = relu(x W + b), f = r · [r > θ] if n = 1.

    There is no normaliser.
    """
    ours = build_crosscoder(activation).fold()
    folder = crosscoder.export(ours, "dictionary_learning", tmp_path / "out", form="folded")
    file = {
        name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()
    }
    assert not any(name.startswith(("activation_", "target_")) for name in file)
    assert file["code_normalization_id"] == 4
    acts = raw.double().view(len(raw), 2, 6)
    r = (torch.einsum("bmd,mdf->bf", acts, file["encoder.weight"]) + file["encoder.bias"]).relu()
    f = r.where(r > file["threshold"], 0) if "threshold" in file else r
    recon = (torch.einsum("bf,mfd->bmd", f, file["decoder.weight"]) + file["decoder.bias"]).flatten(
        1
    )
    code = ours.encode(raw)
    assert 0.1 < (f > 0).double().mean() < 0.7
    torch.testing.assert_close(
        (code.to_dense() * ours.selection_scale).double(), f, atol=1e-4, rtol=1e-5
    )
    torch.testing.assert_close(ours.decode(code).double(), recon, atol=1e-4, rtol=1e-5)
    after = crosscoder.load(folder)
    torch.testing.assert_close(
        after.decode(after.encode(raw)), ours.decode(code), atol=1e-4, rtol=1e-5
    )


# arguments that BatchTopKCrossCoder takes; what it does not know goes to a class that takes no
# others
MAY_2025 = {
    "activation_dim",
    "dict_size",
    "num_layers",
    "k",
    "norm_init_scale",
    "same_init_for_all_layers",
}
MAY_2025 |= {
    "init_with_transpose",
    "encoder_layers",
    "latent_processor",
    "num_decoder_layers",
    "code_normalization",
}
MAY_2025 |= {"code_normalization_alpha_sae", "code_normalization_alpha_cc"}
JUNE_2025 = MAY_2025 | {"activation_mean", "activation_std", "target_rms"}


@pytest.mark.parametrize(("form", "known"), [(None, JUNE_2025), ("folded", MAY_2025)])
def test_config_json_has_only_arguments_of_packages_before_february_2026(form, known, tmp_path):
    folder = crosscoder.export(
        build_crosscoder(BatchTopK(4)), "dictionary_learning", tmp_path / "out", form=form
    )
    assert set(json.loads((folder / "config.json").read_text())) <= known
    trainer = json.loads((folder / "trainer_config.json").read_text())["trainer"]
    assert trainer["dict_class"] == "BatchTopKCrossCoder"


@pytest.mark.parametrize(
    ("activation", "kind"),
    [(BatchTopK(4), "BatchTopKCrossCoder"), (ReLU(), "CrossCoder")],
    ids=["batch_topk", "relu"],
)
def test_the_dict_class_form_names_the_class_in_config_json(activation, kind, tmp_path):
    ours = build_crosscoder(activation)
    plain = crosscoder.export(ours, "dictionary_learning", tmp_path / "plain")
    named = crosscoder.export(ours, "dictionary_learning", tmp_path / "named", form="dict_class")
    config = json.loads((named / "config.json").read_text())
    assert config.pop("dict_class") == kind
    assert config == json.loads((plain / "config.json").read_text())
    assert (named / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("layout", "message"),
    [("dictionary_learning", "dict_class, folded forms"), ("saelens", "no further forms")],
)
def test_an_unknown_form_is_refused(layout, message, tmp_path):
    with pytest.raises(UserError, match=f"'{layout}' has {message}, not 'old'"):
        crosscoder.export(build_crosscoder(ReLU()), layout, tmp_path / "out", form="old")
    assert not any(tmp_path.iterdir())


def placed(*streams: tuple[str, str]) -> Crosscoder:
    """Build a crosscoder with sources of these language models and hookpoints."""
    items = tuple(Source(f"{lm}.{place}", 6, lm, place) for lm, place in streams)
    return build_crosscoder(ReLU()).fold().replace(Sources(items))


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
@pytest.mark.parametrize(
    "place", ["mlp_out.3", "attn_out.3", "attn_z.3", "resid_post.13", "model.norm", ""]
)
def test_the_hookpoint_survives_a_round_trip(layout, place, tmp_path):
    ours = placed(("base", place), ("chat", place))
    after = crosscoder.load(crosscoder.export(ours, layout, tmp_path / "out"))
    assert [source.hookpoint for source in after.sources] == [place, place]


def test_different_hookpoints_stay_different(tmp_path):
    ours = placed(("base", "resid_post.3"), ("base", "mlp_out.3"))
    after = crosscoder.load(crosscoder.export(ours, "saelens", tmp_path / "saelens"))
    assert [(source.lm, source.hookpoint) for source in after.sources] == [
        ("model", "resid_post.3"),
        ("model", "mlp_out.3"),
    ]
    assert after.sources.diff_pair is None
    after = crosscoder.load(
        crosscoder.export(ours, "dictionary_learning", tmp_path / "dictionary_learning")
    )
    assert [source.hookpoint for source in after.sources] == ["", ""]  # it has one place for all


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
@pytest.mark.parametrize("activation", [BatchTopK(4), ReLU()], ids=["batch_topk", "relu"])
def test_code_and_reconstruction_survive_a_round_trip(activation, layout, raw, tmp_path):
    before = build_crosscoder(activation).fold()
    before.provenance = {
        "pair": {
            "lms": {name: {"weights": f"google/gemma-2-2b{end}"} for name, end in PAIR.items()}
        }
    }
    after = crosscoder.load(crosscoder.export(before, layout, tmp_path / "out"))
    assert after.sources.names == ("base", "chat")
    assert after.sources.diff_pair == ("chat", "base")
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


def test_topk_is_read_back_with_its_selection_scale_in_the_weights(raw, tmp_path):
    before = build_crosscoder(TopK(4)).fold()
    after = crosscoder.load(crosscoder.export(before, "saelens", tmp_path / "out"))
    one, two = before.encode(raw), after.encode(raw)
    n = before.selection_scale
    torch.testing.assert_close(two.to_dense(), one.to_dense() * n, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.decode(two), before.decode(one), atol=1e-4, rtol=1e-5)
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    assert (config["architecture"], config["k"], config["metadata"]["widths"]) == (
        "topk",
        4,
        [6, 6],
    )


def test_a_latent_that_writes_nothing_is_never_active(raw, tmp_path):
    ours = build_crosscoder(BatchTopK(4))
    with torch.no_grad():
        ours.W_dec[3] = 0  # then θ / n is infinite
    f, _ = their_formula(
        crosscoder.export(ours, "dictionary_learning", tmp_path / "dictionary_learning"), raw
    )
    crosscoder.export(ours, "saelens", tmp_path / "saelens")
    for loaded in (
        ours.fold(),
        *(crosscoder.load(tmp_path / name) for name in ("dictionary_learning", "saelens")),
    ):
        torch.testing.assert_close(loaded.encode(raw).to_dense().double(), f, atol=1e-5, rtol=1e-5)


def uneven() -> Crosscoder:
    return crosscoder_of(ReLU(), widths=(5, 7)).fold()


def by_dimension() -> Crosscoder:
    result = crosscoder_of(ReLU())
    result.set_units(MEAN, torch.linspace(1, 2, 12))
    return result


def by_latent() -> Crosscoder:
    return crosscoder_of(JumpReLU.from_threshold(torch.linspace(0.1, 2, 24))).fold()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_crosscoder(TopK(4)), "one threshold or not at all, not by topk"),
        (uneven, r"sources of one width, the crosscoder has \[base, chat\] of width 5, 7"),
        (by_dimension, "one scale per model"),
        (by_latent, "one threshold for all latents"),
    ],
)
def test_crosscoders_that_dictionary_learning_cannot_express_are_refused(build, message, tmp_path):
    with pytest.raises(UserError, match=message):
        crosscoder.export(build(), "dictionary_learning", tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["gemma_scope", "onnx", ""])
def test_export_in_a_layout_without_a_writer_is_refused(layout, tmp_path):
    with pytest.raises(
        UserError, match=f"written as dictionary_learning, saelens, not as '{layout}'"
    ):
        crosscoder.export(uneven(), layout, tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
def test_export_overwrites_nothing_and_accepts_an_empty_folder(layout, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UserError, match=f"{name} exists already"):
            crosscoder.export(build_crosscoder(ReLU()), layout, tmp_path / name)
    assert (tmp_path / "full" / "precious").read_text() == (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert (
        crosscoder.load(
            crosscoder.export(build_crosscoder(ReLU()), layout, tmp_path / "empty")
        ).n_latents
        == 24
    )


@pytest.mark.faults
@pytest.mark.parametrize("layout", ["dictionary_learning", "saelens"])
def test_a_full_disk_leaves_no_files(layout, tmp_path, monkeypatch):
    def full(self: Path, *_, **__) -> None:
        assert any(self.parent.iterdir())  # the weights are there already
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        crosscoder.export(build_crosscoder(ReLU()), layout, tmp_path / "out")
    assert not any(tmp_path.iterdir())
