"""Losses from blocks of the vocabulary, against tables of log-probabilities in float64."""

import pytest
import torch
from torch import Tensor, nn

from crosscoder.lm import next_token_losses as module
from crosscoder.lm.head import get_logits
from crosscoder.lm.loading import checks
from crosscoder.lm.next_token_losses import compare_predictions, compute_cross_entropies
from crosscoder.lm.types import PreTrainedModel

N = 7


@pytest.fixture(params=[999, 2**21], ids=["several blocks", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(module, "LOGITS_PER_BLOCK", request.param)


@pytest.fixture
def hidden(model) -> Tensor:
    return 3 * torch.randn(2, N, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def targets(model) -> Tensor:
    n_ids = len(model.get_output_embeddings().weight)
    drawn = torch.randint(n_ids, (N,), generator=torch.Generator().manual_seed(0))
    drawn[:2] = torch.tensor([0, n_ids - 1])
    return drawn


def log_probs(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    return get_logits(model, hidden).double().log_softmax(-1)


def test_two_passes_are_compared(model, hidden, targets, blocks):
    found = compare_predictions(model, hidden[0], hidden[1], targets)
    clean, edited = (log_probs(model, states) for states in hidden)
    rows = torch.arange(N)
    torch.testing.assert_close(found.clean, -clean[rows, targets], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.edited, -edited[rows, targets], atol=1e-5, rtol=1e-5)
    kl = (clean.exp() * (clean - edited)).sum(-1)
    assert kl.min() > 0.1
    torch.testing.assert_close(found.kl, kl, atol=1e-5, rtol=1e-5)


def test_a_pass_has_no_divergence_from_itself(model, hidden, targets, blocks):
    found = compare_predictions(model, hidden[0], hidden[0], targets)
    assert bool((found.kl == 0).all())
    assert torch.equal(found.clean, found.edited)


def test_logits_far_apart_do_not_overflow(model, hidden, targets, blocks):
    found = compare_predictions(model, 1e4 * hidden[0], hidden[1], targets)
    clean, edited = (log_probs(model, states) for states in (1e4 * hidden[0], hidden[1]))
    kl = (clean.exp() * (clean - edited)).sum(-1)
    torch.testing.assert_close(found.kl, kl, atol=1e-2, rtol=1e-5)


def test_equal_states_are_computed_once(model, hidden, targets, blocks, monkeypatch):
    seen = []

    def count(model, states, ids=None) -> Tensor:
        seen.append(len(states))
        return get_logits(model, states, ids)

    monkeypatch.setattr(module, "get_logits", count)
    repeated = hidden[0, [0, 1, 0, 2, 2, 1, 0]]
    found = compute_cross_entropies(model, repeated, targets)
    assert set(seen) == {3}
    expected = -log_probs(model, repeated)[torch.arange(N), targets]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_states_in_bfloat16_are_told_apart(model, targets):
    states = torch.zeros(N, 32, dtype=torch.bfloat16)
    states[3, 5] = 2**-100
    assert len(states.unique(dim=0)) == 2


def test_no_tokens_have_no_losses(model, blocks):
    none = torch.zeros(0, 32)
    targets = torch.zeros(0, dtype=torch.int64)
    assert compute_cross_entropies(model, none, targets).shape == (0,)
    assert compare_predictions(model, none, none, targets).kl.shape == (0,)


def test_the_soft_cap_is_applied(model, hidden, targets, blocks):
    plain = compute_cross_entropies(model, hidden[0], targets)
    model.config.final_logit_softcapping = 0.5
    try:
        capped = compute_cross_entropies(model, hidden[0], targets)
        expected = -log_probs(model, hidden[0])[torch.arange(N), targets]
    finally:
        model.config.final_logit_softcapping = None
    torch.testing.assert_close(capped, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, capped)


def test_a_head_of_another_kind_is_used_whole(model, hidden, targets, blocks, monkeypatch):
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    head = Doubled(32, 200, bias=False)
    monkeypatch.setattr(module, "get_head", lambda model: head)
    monkeypatch.setattr("crosscoder.lm.head.get_head", lambda model: head)
    monkeypatch.setattr(checks, "measure_logits", lambda model: 0.0)
    targets = targets.clamp(max=199)
    found = compute_cross_entropies(model, hidden[0], targets)
    table = head(hidden[0]).detach().double().log_softmax(-1)
    torch.testing.assert_close(found, -table[torch.arange(N), targets], atol=1e-5, rtol=1e-5)
