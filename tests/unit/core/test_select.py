"""Selection against sorted lists of all entries."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crosscoder.core import kernels
from crosscoder.core.kernels import embedding
from crosscoder.core.select import select_above, select_batch_topk, select_topk
from crosscoder.core.sparse import Index
from tests.helpers.devices import needs_compiler
from tests.helpers.kernel_choice import choose_anew

# few distinct scores, so that ties are everywhere
tied_scores = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.lists(st.integers(-1, 3), min_size=width, max_size=width), min_size=1, max_size=6
    )
)


def kept(index: Index) -> list[tuple[int, int]]:
    return list(zip(index.rows.tolist(), index.latents.tolist(), strict=True))


def best(candidates: list[tuple[float, int, int]], k: int) -> list[tuple[int, int]]:
    """Return the k largest positive of (score, row, latent); ties: lower row, then latent."""
    ranked = sorted((-score, row, latent) for score, row, latent in candidates if score > 0)[:k]
    return sorted((row, latent) for _, row, latent in ranked)


def best_of_each_row(scores: Tensor, k: int) -> list[tuple[int, int]]:
    rows = [best([c for c in candidates(scores) if c[1] == row], k) for row in range(len(scores))]
    return [entry for row in rows for entry in row]


def candidates(scores: Tensor) -> list[tuple[float, int, int]]:
    return [
        (score, row, latent)
        for row, line in enumerate(scores.tolist())
        for latent, score in enumerate(line)
    ]


def ones(scores: Tensor) -> Tensor:
    return torch.ones(scores.shape[1])


@pytest.fixture(params=["one block", "many blocks", pytest.param("compiled", marks=needs_compiler)])
def each_way(request, monkeypatch) -> Iterator[None]:
    name = "compiled" if request.param == "compiled" else "embedding"
    monkeypatch.setenv(kernels.VARIABLE, name)
    if request.param == "many blocks":
        monkeypatch.setitem(embedding.BLOCK, "cpu", 50)
    with choose_anew():
        yield


@pytest.mark.parametrize(
    "least", [torch.tensor(0.3), torch.linspace(-1, 1, 37)], ids=["a number", "one per row"]
)
@pytest.mark.parametrize("n_latents", [21, 24])
def test_above_lists_every_higher_score(each_way, least, n_latents):
    pre, scale = torch.randn(37, n_latents).bfloat16(), torch.rand(n_latents) + 0.1
    index, scores = select_above(pre, scale, least)
    v = pre.float() * scale
    assert torch.equal(index.mask(), v > least.expand(37)[:, None])
    assert torch.equal(scores, v[index.rows, index.latents])
    assert kept(index) == sorted(kept(index))


@pytest.mark.long
@given(tied_scores, st.integers(1, 7))
def test_topk_selects_the_largest_scores_of_each_token(scores, k):
    scores = torch.tensor(scores, dtype=torch.float32)
    assert kept(select_topk(scores, ones(scores), k)) == best_of_each_row(scores, k)


@given(tied_scores, st.integers(1, 7))
def test_batch_topk_selects_the_largest_scores_of_the_batch(scores, k):
    scores = torch.tensor(scores, dtype=torch.float32)
    assert kept(select_batch_topk(scores, ones(scores), k)) == best(
        candidates(scores), k * len(scores)
    )


@pytest.mark.long
def test_scores_are_scaled_and_not_rounded_to_the_dtype_of_the_product():
    pre, scale = torch.rand(300, 512).bfloat16(), torch.rand(512) + 0.1
    v = pre.float() * scale
    assert kept(select_topk(pre, scale, 5)) == best_of_each_row(v, 5)
    assert kept(select_batch_topk(pre, scale, 5)) == best(candidates(v), 5 * 300)


@pytest.mark.parametrize("loud", ["the rows the guess looks at", "the rows it does not look at"])
def test_batch_topk_is_exact_whatever_its_estimate(loud):
    scores = torch.rand(300, 20)
    looked_at = torch.zeros(300, dtype=torch.bool)
    looked_at[:: 300 // 64] = True
    scores[looked_at if loud == "the rows the guess looks at" else ~looked_at] += 10
    assert kept(select_batch_topk(scores, ones(scores), 6)) == best(candidates(scores), 6 * 300)


@pytest.mark.parametrize("loud", ["latents the guess looks at", "latents it does not look at"])
def test_topk_is_exact_whatever_its_estimate(loud):
    scores = torch.rand(30, 800)
    looked_at = torch.arange(800) < 100
    scores[::2, looked_at if loud == "latents the guess looks at" else ~looked_at] += 10
    assert kept(select_topk(scores, ones(scores), 4)) == best_of_each_row(scores, 4)


@pytest.mark.parametrize("keep", [select_topk, select_batch_topk])
def test_scores_that_are_not_positive_are_never_selected(keep):
    scores = torch.randn(40, 64)
    scores[5] = -1
    index = keep(scores, ones(scores), 60)
    assert torch.equal(index.mask(), scores > 0)


@pytest.mark.parametrize("keep", [select_topk, select_batch_topk])
def test_a_batch_of_no_tokens_has_an_empty_code(keep):
    assert kept(keep(torch.zeros(0, 16), torch.ones(16), 3)) == []
