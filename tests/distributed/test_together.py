"""What processes compute together is what one computes alone: selection, threshold, dead counters, means and gradients."""

from collections.abc import Iterator

import pytest
import torch

from crosscoder import processes
from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.base import LossInput
from crosscoder.losses.difference import Difference
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.select import select_batch_topk
from crosscoder.training.dead import DeadLatents
from tests.distributed.workers import Team
from tests.small import crosscoder_of, random_acts

pytestmark = pytest.mark.distributed

BATCH, N_LATENTS, K = 32, 48, 5


@pytest.fixture(scope="module", params=[2, 4])
def team(request) -> Iterator[Team]:
    """Two processes, then four."""
    team = Team(request.param)
    yield team
    team.close()


def scores(ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Pre-activations, many of them equal if asked for, and a scale."""
    generator = torch.Generator().manual_seed(3)
    pre = torch.randn(BATCH, N_LATENTS, generator=generator)
    return ((2 * pre).round() / 2, torch.ones(N_LATENTS)) if ties else (pre, torch.rand(N_LATENTS, generator=generator))


def mine(x: torch.Tensor, dim: int = 0) -> torch.Tensor:
    return x.chunk(processes.size(), dim)[processes.rank()]


# --- a batch's tokens shared out ---


def selects_as_one_does(expected: torch.Tensor, ties: bool) -> None:
    pre, scale = scores(ties)
    assert torch.equal(select_batch_topk(mine(pre), scale, K).mask(), mine(expected))


@pytest.mark.parametrize("ties", [False, True])
def test_the_selection_is_that_of_the_whole_batch_also_of_equal_scores(team, ties):
    team.run(selects_as_one_does, select_batch_topk(*scores(ties), K).mask(), ties)


def follows_the_same_threshold(expected: list[float], dead: torch.Tensor) -> None:
    activation, counters = BatchTopK(K, decay=0.5).train(), DeadLatents(N_LATENTS)
    for step, threshold in enumerate(expected):
        acts = random_acts(BATCH, 12, seed=step)
        crosscoder = crosscoder_of(activation, n_latents=N_LATENTS).train()
        counters.update(crosscoder(mine(acts)).code)
        assert float(activation.threshold) == pytest.approx(threshold, rel=1e-6)
    assert torch.equal(counters.tokens_since_fired, dead)


def test_threshold_and_dead_counters_are_those_of_the_whole_batch(team):
    activation, counters, thresholds = BatchTopK(K, decay=0.5).train(), DeadLatents(N_LATENTS), []
    for step in range(4):
        crosscoder = crosscoder_of(activation, n_latents=N_LATENTS).train()
        counters.update(crosscoder(random_acts(BATCH, 12, seed=step)).code)
        thresholds.append(float(activation.threshold))
    assert len(set(counters.tokens_since_fired.tolist())) > 1
    team.run(follows_the_same_threshold, thresholds, counters.tokens_since_fired)


TERMS = {
    "reconstruction": Reconstruction("unsquared"),
    "auxk": AuxK(),
    "difference": Difference(),
    "l1": L1(warmup=0.0),
}


def gradients(term: str, part: bool) -> tuple[float, list[torch.Tensor]]:
    """A term's value and the gradients of all weights, on this process's tokens, or on all."""
    crosscoder = crosscoder_of(BatchTopK(K), n_latents=N_LATENTS).train()
    acts = random_acts(BATCH, 12)
    acts = mine(acts) if part else acts
    dead = torch.arange(N_LATENTS) % 3 == 0
    loss = TERMS[term](LossInput(acts, crosscoder(acts), crosscoder, dead, 1.0, processes.mean))
    loss.backward()
    weights = dict(crosscoder.named_parameters())
    return float(loss.detach()), [torch.zeros_like(w) if w.grad is None else w.grad for w in weights.values()]


def differentiates_as_one_does(term: str, value: float, expected: list[torch.Tensor]) -> None:
    ours, local = gradients(term, part=True)
    assert ours == pytest.approx(value, rel=1e-5)  # the value is the whole batch's, in every process
    for gradient, whole in zip(local, expected, strict=True):
        averaged = processes._reduced(gradient) / processes.size()  # as DDP does
        torch.testing.assert_close(averaged, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_values_and_averaged_gradients_are_those_of_the_whole_batch(team, term):
    team.run(differentiates_as_one_does, term, *gradients(term, part=False))


# --- the latents shared out ---


def has_its_part_of_everything(expected: torch.Tensor, dead: torch.Tensor) -> None:
    pre, scale = scores(ties=False)
    with processes.sharing("latents"):
        index = select_batch_topk(mine(pre, 1), mine(scale), K)
        assert torch.equal(index.mask(), mine(expected, 1))
        assert torch.equal(processes.union(index.counts_by_latent > 0), expected.any(0))
        assert torch.equal(processes.own_latents(dead), mine(dead))
        partial = (torch.arange(3.0) * (processes.rank() + 1)).requires_grad_()
        whole = processes.summed(partial)
        assert torch.equal(whole, torch.arange(3.0) * sum(range(1, processes.size() + 1)))
        whole.square().sum().backward()
        assert torch.equal(partial.grad, 2 * whole)
        assert processes.mean(torch.tensor([float(processes.rank())])) == processes.rank()  # all have the same tokens
        assert torch.equal(processes.whole_batch(mine(pre).bfloat16()), pre.bfloat16())
        assert torch.equal(processes.columns(mine(pre, 1)), pre)
        assert processes.total(processes.rank()) == sum(range(processes.size()))


def test_where_latents_are_shared_out_each_has_its_rows(team):
    expected = select_batch_topk(*scores(ties=False), K).mask()
    team.run(has_its_part_of_everything, expected, torch.arange(N_LATENTS) % 5 == 0)


# --- agreeing ---


def agrees() -> None:
    assert processes.agreed({"run": processes.rank()}) == {"run": 0}
    assert processes.any_has(processes.rank() == 1, False) == [True, False]
    parts = processes.gathered(torch.arange(processes.rank() + 1))
    assert [len(part) for part in parts] == list(range(1, processes.size() + 1))
    assert float(processes.smallest(torch.tensor(float(processes.rank())))) == 0


def test_processes_agree(team):
    team.run(agrees)


def test_alone_there_is_nothing_to_wait_for():
    x = torch.arange(4.0, requires_grad=True)
    assert processes.mean(x) == x.mean()
    assert processes.gathered(x)[0] is processes.summed(x) is x
    assert (processes.rank(), processes.size(), processes.started()) == (0, 1, (1, 1))
    assert processes.any_has(True, False) == [True, False]
