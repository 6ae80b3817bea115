"""The sparse arithmetic against loops over entries, dense matrices and sorted lists."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from crosscoder.core.sparse import DenseCode, Index, SparseCode, index_or_mask
from crosscoder.core.types import Tokens
from crosscoder.errors import UserError

BATCH, N_LATENTS, WIDTH = 7, 11, 5


@pytest.fixture
def active() -> Tensor:
    """Return a mask [batch, n_latents] with an empty row, an empty latent and a full row."""
    mask = torch.rand(BATCH, N_LATENTS) < 0.3
    mask[2] = True
    mask[:, 4] = False
    mask[3] = False
    return mask


@pytest.fixture
def index(active: Tensor) -> Index:
    return Index.from_mask(active)


@pytest.fixture
def values(index: Index) -> Tensor:
    return torch.rand(len(index.rows), dtype=torch.float64) + 0.1


def entries(index: Index) -> list[tuple[int, int, int]]:
    """(entry, token, latent)."""
    return list(
        zip(range(len(index.rows)), index.rows.tolist(), index.latents.tolist(), strict=True)
    )


def kept(index: Index) -> list[tuple[int, int]]:
    return list(zip(index.rows.tolist(), index.latents.tolist(), strict=True))


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_gather_sums_the_table_rows_of_each_token(index, values):
    table, expected = doubles(N_LATENTS, WIDTH), torch.zeros(BATCH, WIDTH, dtype=torch.float64)
    for entry, token, latent in entries(index):
        expected[token] += values[entry] * table[latent]
    torch.testing.assert_close(index.gather(values, table), expected)


def test_scatter_sums_the_activations_of_each_latent(index, values):
    acts, expected = doubles(BATCH, WIDTH), torch.zeros(N_LATENTS, WIDTH, dtype=torch.float64)
    for entry, token, latent in entries(index):
        expected[latent] += values[entry] * acts[token]
    torch.testing.assert_close(index.scatter(values, acts), expected)


def test_dots_are_the_entries_of_a_dense_product(index):
    acts, table = doubles(BATCH, WIDTH), doubles(N_LATENTS, WIDTH)
    expected = torch.stack([acts[token] @ table[latent] for _, token, latent in entries(index)])
    torch.testing.assert_close(index.dots(acts, table), expected)


def test_sum_by_latent_sums_over_tokens(index, values):
    expected = torch.zeros(N_LATENTS, dtype=torch.float64)
    for entry, _, latent in entries(index):
        expected[latent] += values[entry]
    torch.testing.assert_close(index.sum_by_latent(values), expected)


def test_decode_and_its_gradients_are_those_of_a_dense_code(index, values, active):
    W_dec, upstream = doubles(N_LATENTS, WIDTH), doubles(BATCH, WIDTH)
    sparse_values, sparse_W = values.clone().requires_grad_(), W_dec.clone().requires_grad_()
    recon = SparseCode(index, sparse_values).decode(sparse_W)
    recon.backward(upstream)

    f = torch.zeros(BATCH, N_LATENTS, dtype=torch.float64)
    f[active] = values
    f.requires_grad_()
    dense_W = W_dec.clone().requires_grad_()
    (f @ dense_W).backward(upstream)

    torch.testing.assert_close(recon, f @ dense_W)
    torch.testing.assert_close(sparse_values.grad, f.grad[active])
    torch.testing.assert_close(sparse_W.grad, dense_W.grad)


def test_encode_gradients_are_those_of_a_dense_product(index, active):
    acts, W_enc, b_enc = doubles(BATCH, WIDTH), doubles(N_LATENTS, WIDTH), doubles(N_LATENTS)
    upstream = doubles(len(index.rows))
    sparse = [tensor.clone().requires_grad_() for tensor in (acts, W_enc, b_enc)]
    pre = (acts @ W_enc.T + b_enc)[active]
    SparseCode.encode(*sparse, index, pre).values.backward(upstream)

    dense = [tensor.clone().requires_grad_() for tensor in (acts, W_enc, b_enc)]
    (dense[0] @ dense[1].T + dense[2])[active].backward(upstream)
    for ours, reference in zip(sparse, dense, strict=True):
        torch.testing.assert_close(ours.grad, reference.grad)


def test_sparse_and_dense_codes_have_equal_results(index, values, active):
    sparse = SparseCode(index, values)
    dense = DenseCode(sparse.to_dense())
    assert torch.equal(dense.f > 0, active)
    weights, W_dec = doubles(N_LATENTS), doubles(N_LATENTS, WIDTH)
    torch.testing.assert_close(sparse.weighted_sum(weights), dense.weighted_sum(weights))
    torch.testing.assert_close(sparse.decode(W_dec), dense.decode(W_dec))
    assert sparse.l0().tolist() == dense.l0().tolist() == active.sum(1).tolist()
    assert sparse.counts().tolist() == dense.counts().tolist() == active.sum(0).tolist()
    assert (len(sparse), sparse.n_latents) == (len(dense), dense.n_latents) == (BATCH, N_LATENTS)
    assert torch.equal(dense.to_sparse().values, values)
    assert sparse.to_sparse() is sparse


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (3, N_LATENTS), (7, 7)])
def test_a_slice_has_the_code_of_its_latents(index, values, start, stop):
    sparse = SparseCode(index, values)
    dense = DenseCode(sparse.to_dense())
    expected = sparse.to_dense()[:, start:stop]
    assert torch.equal(sparse.slice(start, stop).to_dense(), expected)
    assert torch.equal(dense.slice(start, stop).to_dense(), expected)


def test_weighted_sum_and_to_dense_have_gradients(index, values):
    values.requires_grad_()
    weights = doubles(N_LATENTS).requires_grad_()
    code = SparseCode(index, values)
    (code.weighted_sum(weights).sum() + code.to_dense().sum()).backward()
    torch.testing.assert_close(values.grad, weights.detach()[index.latents] + 1)
    torch.testing.assert_close(weights.grad, index.sum_by_latent(values.detach()))


@pytest.mark.parametrize("n_latents", [N_LATENTS, 16], ids=["one at a time", "eight at a time"])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_an_index_lists_a_masks_entries_in_order(n_latents, density):
    mask = torch.rand(BATCH, n_latents) < density
    index = Index.from_mask(mask)
    assert kept(index) == [tuple(place) for place in mask.nonzero().tolist()]
    assert torch.equal(index.mask(), mask)
    assert index.counts.tolist() == mask.sum(1).tolist()
    assert index.counts_by_latent.tolist() == mask.sum(0).tolist()
    half = torch.rand(len(index)) < 0.5
    assert kept(index[half]) == [
        entry for entry, keep in zip(kept(index), half.tolist(), strict=True) if keep
    ]


def test_a_mask_with_too_many_entries_stays_a_mask():
    few, many = torch.zeros(10, 32, dtype=torch.bool), torch.zeros(10, 32, dtype=torch.bool)
    few[0, :13], many[0, :14] = True, True  # of 320, a 24th of which is 13.3
    assert kept(index_or_mask(few)) == [(0, latent) for latent in range(13)]
    assert torch.equal(index_or_mask(many), many)
    assert not Index.from_mask(few).is_dense()
    assert Index.from_mask(many).is_dense()


def test_a_code_without_entries_decodes_to_zero():
    code = SparseCode(Index.from_mask(torch.zeros(3, N_LATENTS, dtype=torch.bool)), torch.zeros(0))
    W_dec = torch.randn(N_LATENTS, WIDTH, requires_grad=True)
    recon = code.decode(W_dec)
    recon.sum().backward()
    assert torch.equal(recon, torch.zeros(3, WIDTH))
    assert torch.equal(W_dec.grad, torch.zeros_like(W_dec))


# --- on disk ---


def tokens_of(batch: int) -> Tokens:
    return Tokens(*(torch.randint(0, 100, (batch,)) for _ in range(4)))


def test_a_saved_code_is_loaded_with_its_tokens(index, values, tmp_path):
    code = SparseCode(index, values.float()).with_tokens(
        tokens_of(BATCH), [f"▁t{i}" for i in range(BATCH)]
    )
    code.save(tmp_path / "code.safetensors")
    back = SparseCode.load(tmp_path / "code.safetensors")
    assert torch.equal(back.values, code.values)
    assert kept(back.index) == kept(index)
    assert (len(back), back.n_latents, back.strings) == (BATCH, N_LATENTS, code.strings)
    assert all(
        torch.equal(column, code.tokens.tensors()[name])
        for name, column in back.tokens.tensors().items()
    )


def test_a_code_saved_without_tokens_is_loaded_without_tokens(index, values, tmp_path):
    SparseCode(index, values).save(tmp_path / "code.safetensors")
    back = SparseCode.load(tmp_path / "code.safetensors")
    assert back.tokens is None
    assert back.strings is None


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("values", lambda x: x[1:], "expected one floating-point value for each of"),
        ("latents", lambda x: x[1:], "rows and latents must be int64 vectors of equal length"),
        ("latents", lambda x: x + N_LATENTS, rf"index \d+ is out of range \[0, {N_LATENTS}\)"),
        ("latents", lambda x: x - N_LATENTS, rf"index -\d+ is out of range \[0, {N_LATENTS}\)"),
        ("rows", lambda x: x.flip(0), "rows must not fall"),
    ],
)
def test_a_code_with_invalid_entries_is_refused_with_the_reason(tmp_path, name, spoil, message):
    index = Index.from_mask(torch.eye(4, N_LATENTS, dtype=torch.bool))
    path = tmp_path / "code.safetensors"
    SparseCode(index, torch.ones(4)).save(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    tensors[name] = spoil(tensors[name]).contiguous()
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match=message):
        SparseCode.load(path)


def test_a_missing_code_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no code at .*nowhere"):
        SparseCode.load(tmp_path / "nowhere.safetensors")
