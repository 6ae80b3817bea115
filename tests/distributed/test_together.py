"""Several processes compute what one computes: selection, threshold, dead counters, gradients."""

from collections.abc import Iterator

import pytest
import torch

from crosscoder import distributed
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.select import select_batch_topk
from crosscoder.distributed import Parallel
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.base import LossContext
from crosscoder.losses.difference import Difference
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training.dead import DeadLatents
from tests.distributed.workers import Team
from tests.helpers.small import crosscoder_of, random_acts

pytestmark = pytest.mark.distributed

BATCH, N_LATENTS, K = 32, 48, 5


@pytest.fixture(scope="module", params=[2, 4])
def team(request) -> Iterator[Team]:
    """Start two processes, then four."""
    team = Team(request.param)
    yield team
    team.close()


def scores(ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pre-activations, many of them equal with `ties`, and a scale."""
    generator = torch.Generator().manual_seed(3)
    pre = torch.randn(BATCH, N_LATENTS, generator=generator)
    return (
        ((2 * pre).round() / 2, torch.ones(N_LATENTS))
        if ties
        else (pre, torch.rand(N_LATENTS, generator=generator))
    )


def mine(x: torch.Tensor, dim: int = 0) -> torch.Tensor:
    return x.chunk(distributed.size(), dim)[distributed.rank()]


# --- sharded tokens ---


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
    """Return a term's value and the gradients of all weights, on this process's tokens or all."""
    crosscoder = crosscoder_of(BatchTopK(K), n_latents=N_LATENTS).train()
    acts = random_acts(BATCH, 12)
    acts = mine(acts) if part else acts
    dead = torch.arange(N_LATENTS) % 3 == 0
    loss = TERMS[term](
        LossContext(acts, crosscoder(acts), crosscoder, dead, 1.0, Parallel().batch_mean)
    )
    loss.backward()
    weights = dict(crosscoder.named_parameters())
    return float(loss.detach()), [
        torch.zeros_like(w) if w.grad is None else w.grad for w in weights.values()
    ]


def differentiates_as_one_does(term: str, value: float, expected: list[torch.Tensor]) -> None:
    ours, local = gradients(term, part=True)
    assert ours == pytest.approx(
        value, rel=1e-5
    )  # the value is the whole batch's, in every process
    for gradient, whole in zip(local, expected, strict=True):
        averaged = distributed._all_reduce(gradient) / distributed.size()  # as DDP does
        torch.testing.assert_close(averaged, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_values_and_averaged_gradients_are_those_of_the_whole_batch(team, term):
    team.run(differentiates_as_one_does, term, *gradients(term, part=False))


# --- sharded latents ---


def has_its_part_of_everything(expected: torch.Tensor, dead: torch.Tensor) -> None:
    pre, scale = scores(ties=False)
    parallel = Parallel("latents")
    rank, size = distributed.rank(), distributed.size()
    index = select_batch_topk(mine(pre, 1), mine(scale), K, parallel)
    assert torch.equal(index.mask(), mine(expected, 1))
    assert torch.equal(parallel.union_over_ranks(index.counts_by_latent > 0), expected.any(0))
    assert torch.equal(parallel.local_latents(dead), mine(dead))
    partial = (torch.arange(3.0) * (rank + 1)).requires_grad_()
    whole = parallel.all_reduce_sum(partial)
    assert torch.equal(whole, torch.arange(3.0) * sum(range(1, size + 1)))
    whole.square().sum().backward()
    assert torch.equal(partial.grad, 2 * whole)
    # all processes have the same tokens
    assert parallel.batch_mean(torch.tensor([float(rank)])) == rank
    assert torch.equal(parallel.gather_batch(mine(pre).bfloat16()), pre.bfloat16())
    assert torch.equal(parallel.gather_latents(mine(pre, 1)), pre)
    assert parallel.sum_over_latent_shards(rank) == sum(range(size))


def test_each_process_has_its_rows_of_sharded_latents(team):
    expected = select_batch_topk(*scores(ties=False), K).mask()
    team.run(has_its_part_of_everything, expected, torch.arange(N_LATENTS) % 5 == 0)


# --- agreement ---


def agrees() -> None:
    assert distributed.broadcast_object({"run": distributed.rank()}) == {"run": 0}
    assert distributed.any_rank(distributed.rank() == 1, False) == [True, False]
    parts = distributed.all_gather(torch.arange(distributed.rank() + 1))
    assert [len(part) for part in parts] == list(range(1, distributed.size() + 1))
    assert float(distributed.all_reduce_min(torch.tensor(float(distributed.rank())))) == 0


def test_processes_agree(team):
    team.run(agrees)


def test_a_single_process_communicates_with_nobody():
    x = torch.arange(4.0, requires_grad=True)
    for parallel in (Parallel("tokens"), Parallel("latents")):
        assert parallel.batch_mean(x) == x.mean()
        assert parallel.all_reduce_sum(x) is x
        assert parallel.gather_latents(x) is x
    assert distributed.all_gather(x)[0] is x
    assert (distributed.rank(), distributed.size(), distributed.launched_processes()) == (
        0,
        1,
        (1, 1),
    )
    assert distributed.any_rank(True, False) == [True, False]
