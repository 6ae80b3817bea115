"""The crosscoder against the two lines of its definition; views, folding, and saved folders."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch

from crosscoder.core import arithmetic
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.relu import ReLU
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.sources import Source, Sources
from crosscoder.core.types import Tokens
from crosscoder.distributed import Parallel
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts


@pytest.fixture
def crosscoder() -> Crosscoder:
    """Return a crosscoder in units far from raw ones; the threshold keeps a fifth of entries."""
    made = crosscoder_of(BatchTopK(4), widths=(5, 7))
    made.set_units(torch.linspace(-3, 3, 12), torch.tensor([0.5] * 5 + [4.0] * 7))
    made.activation.threshold.fill_(1.5)
    return made.eval()


@pytest.fixture
def raw() -> torch.Tensor:
    return random_acts(40, 12) * torch.tensor([0.5] * 5 + [4.0] * 7) + torch.linspace(-3, 3, 12)


# --- the computation ---


def test_encode_and_decode_are_the_two_lines_of_the_definition():
    crosscoder, acts = crosscoder_of(ReLU(), widths=(5, 7)), random_acts(9, 12)
    code = crosscoder.encode(acts)
    f = (acts @ crosscoder.W_enc.T + crosscoder.b_enc).clamp(min=0)
    torch.testing.assert_close(code.to_dense(), f)
    torch.testing.assert_close(crosscoder.decode(code), f @ crosscoder.W_dec + crosscoder.b_dec)


def test_sparse_values_are_unscaled_pre_activations():
    crosscoder, acts = crosscoder_of(TopK(4), widths=(5, 7)).eval(), random_acts(9, 12)
    f = crosscoder.encode(acts).to_dense()
    pre = acts @ crosscoder.W_enc.T + crosscoder.b_enc
    assert (f > 0).sum(1).tolist() == [4] * 9
    torch.testing.assert_close(f[f > 0], pre[f > 0])


def test_one_sources_reconstruction_is_its_slice(crosscoder, raw):
    code = crosscoder.encode(crosscoder.normalise(raw))
    whole = crosscoder.sources.split(crosscoder.decode(code))
    for name in ("base", "chat"):
        torch.testing.assert_close(crosscoder.decode(code, name), whole[name])


def test_forward_returns_code_reconstruction_and_pre_activations_of_any_latents(crosscoder, raw):
    acts = crosscoder.normalise(raw)
    output = crosscoder(acts)
    torch.testing.assert_close(output.code.to_dense(), crosscoder.encode(acts).to_dense())
    torch.testing.assert_close(output.recon, crosscoder.decode(output.code))
    latents = torch.tensor([7, 0, 11])
    expected = (acts @ crosscoder.W_enc.T + crosscoder.b_enc)[:, latents]
    torch.testing.assert_close(output.pre(latents), expected)
    output.pre(latents).sum().backward()
    assert crosscoder.b_enc.grad.nonzero().flatten().tolist() == [0, 7, 11]


def test_the_encoder_product_has_the_configured_dtype_in_training_only(monkeypatch):
    monkeypatch.setattr(arithmetic, "has_fast_products", lambda dtype: True)
    crosscoder, acts = crosscoder_of(TopK(24)), random_acts(9, 12)
    crosscoder.gemm_dtype = torch.bfloat16
    exact = (acts @ crosscoder.W_enc.T + crosscoder.b_enc).relu()
    trained, used = (crosscoder.train(mode).encode(acts).to_dense() for mode in (True, False))
    torch.testing.assert_close(used, exact)
    torch.testing.assert_close(trained, exact, atol=0.1, rtol=0.02)
    assert not torch.allclose(trained, exact, atol=1e-4)
    assert trained.dtype == torch.float32


def test_solo_replaces_a_missing_source_of_equal_width_by_the_present_one():
    crosscoder, acts = crosscoder_of(TopK(4)).eval(), random_acts(9, 12)
    chat = acts[:, 6:]
    paired = crosscoder.encode(torch.cat([chat, chat], dim=1)).to_dense()
    assert torch.equal(crosscoder.encode(acts, mode="solo").to_dense(), paired)
    assert torch.equal(crosscoder.encode(chat, mode="solo").to_dense(), paired)
    base = acts[:, :6]
    paired = crosscoder.encode(torch.cat([base, base], dim=1)).to_dense()
    assert torch.equal(crosscoder.encode(acts, mode="solo", source="base").to_dense(), paired)


def test_solo_replaces_a_missing_source_of_another_width_by_its_mean(crosscoder, raw):
    folded = crosscoder.fold()
    imputed = torch.cat([crosscoder.mean[:5].expand(40, 5), raw[:, 5:]], dim=1)
    assert torch.equal(
        folded.encode(raw, mode="solo").to_dense(), folded.encode(imputed).to_dense()
    )


def test_activations_of_another_width_are_refused_with_the_expected_sources(crosscoder):
    with pytest.raises(
        UserError, match=r"expects \[base, chat\] of width 5, 7, not activations of width 9"
    ):
        crosscoder.encode(torch.zeros(2, 9))
    with pytest.raises(UserError, match="solo activations of 'base' have width 5, not 6"):
        crosscoder.encode(torch.zeros(2, 6), mode="solo", source="base")
    with pytest.raises(UserError, match="no source 'it'"):
        crosscoder.encode(torch.zeros(2, 12), mode="solo", source="it")


@pytest.mark.parametrize("activation", [ReLU(), TopK(4)])
def test_the_code_of_a_reading_has_its_tokens(activation):
    crosscoder = crosscoder_of(activation).eval()
    tokens = Tokens(*(torch.arange(9) for _ in range(4)))
    reading = Reading(random_acts(9, 12), tokens, [f"t{i}" for i in range(9)], crosscoder.sources)
    code = crosscoder.encode(reading)
    assert code.tokens is tokens
    assert code.strings == reading.strings
    torch.testing.assert_close(code.to_dense(), crosscoder.encode(reading.acts).to_dense())
    assert crosscoder.encode(reading, mode="solo").tokens is tokens


def test_a_reading_may_have_more_sources_in_another_order():
    crosscoder, tokens = (
        crosscoder_of(TopK(4), widths=(6, 6)).eval(),
        Tokens(*(torch.arange(9) for _ in range(4))),
    )
    base, chat = crosscoder.sources.items
    third = Source("third", 3, "third", "resid_post.1")
    acts = dict(
        zip(("chat", "third", "base"), (random_acts(9, n, n) for n in (6, 3, 6)), strict=True)
    )
    acts["base"] = acts["base"] + 1
    reading = Reading(
        torch.cat([*acts.values()], dim=1), tokens, [""] * 9, Sources((chat, third, base))
    )
    expected = crosscoder.encode(torch.cat([acts["base"], acts["chat"]], dim=1))
    torch.testing.assert_close(crosscoder.encode(reading).to_dense(), expected.to_dense())
    with pytest.raises(
        UserError, match=r"but the crosscoder expects base resid_post\.1, chat resid_post\.1"
    ):
        crosscoder.encode(Reading(acts["chat"], tokens, [""] * 9, Sources((chat,))))


# --- views and units ---


def test_views_share_memory_with_the_weights(crosscoder):
    assert crosscoder.decoder("chat").shape == (24, 7)
    with torch.no_grad():
        crosscoder.decoder("chat")[3] = 8.0
        crosscoder.encoder("base")[3] = 9.0
    assert crosscoder.W_dec[3, 5:].eq(8).all()
    assert crosscoder.W_enc[3, :5].eq(9).all()


def test_the_selection_scale_is_the_sum_of_the_sources_norms(crosscoder):
    base, chat = crosscoder.W_dec[:, :5].norm(dim=1), crosscoder.W_dec[:, 5:].norm(dim=1)
    torch.testing.assert_close(crosscoder.decoder_norms(), torch.stack([base, chat]))
    torch.testing.assert_close(crosscoder.selection_scale, base + chat)


def test_norms_of_a_folded_crosscoder_are_in_training_units_by_default(crosscoder):
    folded = crosscoder.fold()
    torch.testing.assert_close(folded.decoder_norms(), crosscoder.decoder_norms())
    torch.testing.assert_close(folded.selection_scale, crosscoder.selection_scale)
    raw_units = crosscoder.decoder_norms() * torch.tensor([[0.5], [4.0]])
    torch.testing.assert_close(folded.decoder_norms("raw"), raw_units)


def test_folding_moves_the_units_into_the_weights(crosscoder, raw):
    folded = crosscoder.fold()
    assert not crosscoder.folded
    assert folded.folded
    before, after = crosscoder.encode(crosscoder.normalise(raw)), folded.encode(raw)
    assert torch.equal(before.to_dense() > 0, after.to_dense() > 0)
    torch.testing.assert_close(before.to_dense(), after.to_dense(), atol=1e-4, rtol=1e-4)
    in_raw_units = crosscoder.decode(before) * crosscoder.scale + crosscoder.mean
    torch.testing.assert_close(folded.decode(after), in_raw_units, atol=1e-4, rtol=1e-4)


def test_folding_twice_is_folding_once(crosscoder):
    folded = crosscoder.fold()
    assert folded.fold() is folded


# --- on disk ---


def test_a_loaded_crosscoder_equals_the_saved_one_bit_for_bit(crosscoder, raw, tmp_path):
    crosscoder.provenance = {"heldout": "somewhere", "tokens_sha256": "ab"}
    folder = crosscoder.save_pretrained(tmp_path / "crosscoder")
    loaded, folded = Crosscoder.from_pretrained(folder), crosscoder.fold()
    assert loaded.state_dict().keys() == folded.state_dict().keys()
    assert all(
        torch.equal(tensor, loaded.state_dict()[name])
        for name, tensor in folded.state_dict().items()
    )
    assert torch.equal(loaded.encode(raw).to_dense(), folded.encode(raw).to_dense())
    assert loaded.sources == crosscoder.sources
    assert loaded.provenance == crosscoder.provenance
    assert not loaded.training
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crosscoder"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_folder_loads_the_crosscoder_in_it(crosscoder, tmp_path):
    crosscoder.save_pretrained(tmp_path / "crosscoder")
    assert torch.equal(Crosscoder.from_pretrained(tmp_path).W_enc, crosscoder.fold().W_enc)


def test_config_is_plain_json_with_the_scale_of_each_source(crosscoder, tmp_path):
    config = json.loads((crosscoder.save_pretrained(tmp_path / "c") / "config.json").read_text())
    assert config["scale"] == {"base": 0.5, "chat": 4.0}
    assert config["activation"] == {"name": "jumprelu", "n_latents": 24}
    assert config["n_latents"] == 24


def test_saving_again_replaces_the_files(crosscoder, tmp_path):
    crosscoder_of(TopK(2)).save_pretrained(tmp_path / "c")
    crosscoder.save_pretrained(tmp_path / "c")
    assert Crosscoder.from_pretrained(tmp_path / "c").sources == crosscoder.sources


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda config: config | {"format": 99}, "format 99; this version reads 1"),
        (lambda config: config | {"n_latents": 25}, "is not a saved crosscoder"),
        (lambda config: config | {"activation": {"name": "os"}}, "unknown activation 'os'"),
        (lambda config: {"format": 1}, "is not a saved crosscoder"),
        (lambda config: config | {"sources": []}, "is not a saved crosscoder"),
        (lambda config: config | {"provenance": 3}, "is not a saved crosscoder"),
        (
            lambda config: {key: value for key, value in config.items() if key != "provenance"},
            "is not a saved crosscoder",
        ),
    ],
)
def test_a_folder_without_a_valid_crosscoder_is_refused_with_the_reason(
    crosscoder, tmp_path, spoil, message
):
    folder = crosscoder.save_pretrained(tmp_path / "c")
    config = folder / "config.json"
    config.write_text(json.dumps(spoil(json.loads(config.read_text()))))
    with pytest.raises(UserError, match=message) as error:
        Crosscoder.from_pretrained(folder)
    assert "\n" not in str(error.value)


@pytest.mark.faults
def test_damaged_weights_are_refused(crosscoder, tmp_path):
    weights = crosscoder.save_pretrained(tmp_path / "c") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="is not a saved crosscoder"):
        Crosscoder.from_pretrained(tmp_path / "c")


def test_weights_with_nan_are_refused(crosscoder, tmp_path):
    with torch.no_grad():
        crosscoder.W_dec[3, 2] = torch.nan
    with pytest.raises(UserError, match=r"W_dec.* holds NaN"):
        Crosscoder.from_pretrained(crosscoder.save_pretrained(tmp_path / "c"))


@pytest.mark.parametrize("path", ["nowhere", "no/such/folder", "outputs/run", "."])
def test_a_missing_crosscoder_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"no crosscoder at {path}"):
        Crosscoder.from_pretrained(path)


def test_a_hub_id_is_downloaded(crosscoder, tmp_path, monkeypatch):
    crosscoder.save_pretrained(tmp_path / "snapshot")
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda repo, **_: asked.append(repo) or str(tmp_path / "snapshot"),
    )
    assert Crosscoder.from_pretrained("someone/crosscoder").n_latents == 24
    assert asked == ["someone/crosscoder"]


def test_an_unreachable_hub_is_an_error_of_one_line():
    with pytest.raises(UserError, match="someone/crosscoder") as error:
        Crosscoder.from_pretrained("someone/crosscoder")
    assert "\n" not in str(error.value)


def test_push_to_hub_uploads_a_folder_that_loads(crosscoder, tmp_path, monkeypatch):
    class StubHub:
        def create_repo(self, repo: str, private: bool, exist_ok: bool) -> None:
            assert (repo, private, exist_ok) == ("someone/crosscoder", True, True)
            (tmp_path / "hub").mkdir()

        def upload_folder(self, repo_id: str, folder_path: str | Path) -> str:
            for file in Path(folder_path).iterdir():
                (tmp_path / "hub" / file.name).write_bytes(file.read_bytes())
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", StubHub)
    crosscoder.provenance = {
        "train": "/home/me/store",
        "settings": ["run=/home/me/run", "k=4"],
        "tokens_sha256": "ab",
    }
    assert crosscoder.push_to_hub("someone/crosscoder") == "https://hub/someone/crosscoder"
    assert torch.equal(Crosscoder.from_pretrained(tmp_path / "hub").W_dec, crosscoder.fold().W_dec)
    assert 'load("someone/crosscoder")' in (tmp_path / "hub" / "README.md").read_text()
    assert Crosscoder.from_pretrained(tmp_path / "hub").provenance == {
        "settings": ["k=4"],
        "tokens_sha256": "ab",
    }
    for name in ("README.md", "config.json"):
        assert "/home/me" not in (tmp_path / "hub" / name).read_text()


# --- made of weights that exist ---


def test_weights_in_training_units_fold_like_a_trained_crosscoder(crosscoder, raw):
    folded = crosscoder.fold()
    weights = crosscoder.W_enc, crosscoder.b_enc, crosscoder.W_dec, crosscoder.b_dec
    made = Crosscoder.from_weights(
        crosscoder.sources,
        weights,
        folded.activation,
        (crosscoder.mean, crosscoder.scale),
        crosscoder.selection_scale,
    )
    assert torch.equal(made.decode(made.encode(raw)), folded.decode(folded.encode(raw)))
    assert torch.equal(made.decoder_norms(), folded.decoder_norms())


def test_groups_of_rows_are_saved(tmp_path):
    plain = crosscoder_of(TopK(4)).fold()
    groups = torch.arange(12).repeat(2)
    grouped = Crosscoder.from_weights(
        plain.sources, (plain.W_enc, plain.b_enc, plain.W_dec, plain.b_dec), TopK(4), groups=groups
    )
    grouped.save_pretrained(tmp_path / "grouped")
    assert torch.equal(Crosscoder.from_pretrained(tmp_path / "grouped").groups, groups)
    assert Crosscoder.from_pretrained(plain.save_pretrained(tmp_path / "plain")).groups is None


def test_how_processes_divide_a_step_reaches_the_activation_and_is_not_saved(crosscoder):
    before = crosscoder.state_dict().keys()
    crosscoder.set_parallel(Parallel("latents"))
    assert crosscoder.activation.parallel == Parallel("latents")
    assert crosscoder.state_dict().keys() == before
    folded = crosscoder.fold()
    assert folded.parallel == folded.activation.parallel == Parallel("tokens")


def test_replace_leaves_the_original_unchanged(crosscoder, raw):
    folded = crosscoder.fold()
    before = folded.encode(raw).to_dense()
    sources = Sources(folded.sources.items)
    other = folded.replace(sources=sources, activation=ReLU())
    assert other.sources.diff_pair is None
    assert other.W_enc.data_ptr() == folded.W_enc.data_ptr()
    assert torch.equal(other.scale, folded.scale)
    assert (other.encode(raw).to_dense() > 0).sum() > (before > 0).sum()
    assert torch.equal(folded.encode(raw).to_dense(), before)


@pytest.mark.parametrize(
    ("shape", "advice"), [((2, 3, 12), r"acts\.flatten\(0, -2\)"), ((12,), r"acts\[None\]")]
)
def test_activations_with_another_number_of_axes_are_refused_with_the_expected_shape(
    unchecked, shape, advice
):
    crosscoder = crosscoder_of(TopK(2))
    width = crosscoder.sources.d_total
    for ask in (crosscoder.encode, crosscoder):
        with pytest.raises(UserError, match=rf"a tensor \[tokens, {width}\], not one .*{advice}"):
            ask(torch.zeros(*shape[:-1], width))
    with pytest.raises(UserError, match="not list"):
        crosscoder.encode([[0.0] * width])
