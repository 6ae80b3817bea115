"""Each architecture gets a packing in which a document has the activations it has alone."""

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from crosscoder.errors import UserError
from crosscoder.lm import Pair
from crosscoder.lm.architectures import get_decoder
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.lm.layout import Layout, make_document_mask
from crosscoder.lm.measurements import Measurements
from crosscoder.lm.packing import choose_packing, get_final_layout, measure_packings, run_isolated
from tests.helpers.architectures import build

SEQ_LEN = 24
HERE = [Hookpoint(2, "resid_post")]
EXPECTED = {
    **dict.fromkeys(
        ("llama", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "phi", "mixtral", "llama4_text"),
        "positions",
    ),
    **dict.fromkeys(("gpt_oss", "opt", "biogpt", "mpt"), "mask"),
    **dict.fromkeys(
        ("jamba", "mamba", "qwen3_5_text", "granitemoehybrid", "bloom", "kimi_linear"), "rows"
    ),
}


def packing_of(model, seq_len: int = SEQ_LEN) -> str:
    return choose_packing({"model": measure_packings(model, HERE, seq_len)})


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_type", EXPECTED)
def test_the_fastest_packing_that_isolates_documents_is_chosen(model_type, dtype):
    assert packing_of(build(model_type).to(dtype)) == EXPECTED[model_type]


@pytest.mark.long
@pytest.mark.parametrize("model_type", EXPECTED)
def test_a_packed_document_has_the_hidden_states_of_transformers(model_type):
    model = build(model_type)
    first, second = torch.randint(4, 90, (7,)), torch.randint(4, 90, (11,))
    states = model(second[None], output_hidden_states=True, use_cache=False).hidden_states
    alone = states[HERE[0].layer + (model_type != "mamba")][0]  # Mamba leaves the embeddings out
    row = torch.cat([first, second])[None]
    positions = torch.cat([torch.arange(7), torch.arange(11)])[None]
    found = read(model, HERE, row, positions)[HERE[0]][0, 7:]
    torch.testing.assert_close(found, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.long
@pytest.mark.parametrize("model_type", EXPECTED)
def test_final_hidden_states_of_packed_documents_equal_those_of_each_alone(model_type):
    model = build(model_type)
    rows = torch.randint(4, 90, (2, 12))
    positions = torch.stack([torch.cat([torch.arange(5), torch.arange(7)]), torch.arange(12)])
    found = run_isolated(model, rows, get_final_layout(model, positions))
    for row, a, b in ((0, 0, 5), (0, 5, 12), (1, 0, 12)):
        alone = get_decoder(model)(rows[row : row + 1, a:b], use_cache=False)[0][0]
        torch.testing.assert_close(
            found[row, a:b], alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max())
        )


def test_pieces_are_arranged_in_rows_and_restored():
    positions = torch.tensor([[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]])
    values = torch.arange(1, 11).view(2, 5)
    layout = Layout("rows", positions)
    expected = [[1, 2, 3, 0], [4, 5, 0, 0], [6, 7, 8, 9], [10, 0, 0, 0]]
    assert layout.arrange(values).tolist() == expected
    assert layout.positions.tolist() == [[0, 1, 2, 3]] * 4
    assert torch.equal(layout.restore(layout.arrange(values)), values)
    wide = torch.randn(2, 5, 3)
    assert torch.equal(layout.restore(layout.arrange(wide)), wide)
    for packing in ("positions", "mask"):
        assert torch.equal(Layout(packing, positions).arrange(values), values)


def test_a_mask_without_the_sliding_window_fails_only_if_rows_are_longer_than_it():
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=96, num_key_value_heads=2, sliding_window=6, initializer_range=0.2, **sizes
    )
    model = MistralForCausalLM(config).eval().requires_grad_(False)
    assert measure_packings(model, HERE, 24)["positions"][0]
    assert not measure_packings(model, HERE, 24)["mask"][0]
    assert measure_packings(model, HERE, 8)["mask"][0]


def test_a_token_sees_itself_and_earlier_tokens_of_its_own_piece():
    positions = torch.tensor([[0, 1, 0, 1, 2], [0, 1, 2, 3, 0]])
    pieces = torch.tensor([[1, 1, 2, 2, 2], [1, 1, 1, 1, 2]])
    for row in range(2):
        for i in range(5):
            for j in range(5):
                sees = j <= i and pieces[row, i] == pieces[row, j]
                assert make_document_mask(positions)[row, 0, i, j] == sees


def test_a_packing_must_fit_all_models():
    fits, not_fit = (True, 0.0), (False, 0.4)
    attention = {"positions": fits, "mask": fits, "rows": fits}
    no_positions = {"positions": not_fit, "mask": fits, "rows": fits}
    recurrent = {"positions": not_fit, "mask": not_fit, "rows": fits}
    assert choose_packing({"base": attention, "chat": attention}) == "positions"
    assert choose_packing({"base": attention, "chat": no_positions}) == "mask"
    assert choose_packing({"base": no_positions, "chat": recurrent}) == "rows"
    with pytest.raises(
        UserError,
        match=r"base: 0 with positions.*chat: 0\.4 with positions, 0\.4 with mask, 0\.4 with rows",
    ):
        choose_packing(
            {"base": attention, "chat": dict.fromkeys(("positions", "mask", "rows"), not_fit)}
        )


def test_saved_measurements_avoid_loading_the_model_again(monkeypatch, tmp_path):
    monkeypatch.setenv("CROSSCODER_CACHE", str(tmp_path))
    lms = {"base": {"seed": 0}, "chat": {"seed": 0, "drift": 0.1}}
    sources = Pair(lms, layer=1, dtype="float32").sources()
    assert Pair(lms, layer=1, dtype="float32").choose_packing(sources, 16) == "positions"
    again = Pair(lms, layer=1, dtype="float32")
    asked = []
    measure = Measurements._measure

    def count(self, lm, hookpoints, seq_len):
        asked.append(lm)
        return measure(self, lm, hookpoints, seq_len)

    monkeypatch.setattr(Measurements, "_measure", count)
    again.choose_packing(sources, 16)
    assert again.choose_packing(sources, 16) == "positions"
    assert not again.models.loaded
    assert asked == ["base", "chat"]  # a fingerprint may ask the hub: once is enough
