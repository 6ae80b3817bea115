import pytest
import torch

from crosscoder.core.activations import Activation
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, random_acts

SCORES = {
    "sum": lambda base, chat: base + chat,
    "concat": lambda base, chat: (base**2 + chat**2) ** 0.5,
    "mixed": lambda base, chat: (base**2 + chat**2) ** 0.5 + 0.1 * (base + chat),
    "none": lambda base, chat: 1.0,
}
every_score = pytest.mark.parametrize("score", SCORES)


def active(activation: TopK, pre: list[list[float]], scale: list[float]) -> list[list[int]]:
    index = activation.select(torch.tensor(pre), torch.tensor(scale))
    return [index.latents[index.rows == row].tolist() for row in range(len(pre))]


def test_selection_weighs_pre_activations_by_the_scale():
    assert active(TopK(1), [[3.0, 2.0, 1.0]], [1.0, 1.0, 1.0]) == [[0]]
    assert active(TopK(1), [[3.0, 2.0, 1.0]], [1.0, 2.0, 1.0]) == [[1]]


def test_only_positive_pre_activations_are_active():
    assert active(TopK(2), [[-3.0, 2.0, -1.0], [0.0, 0.0, 0.0]], [1.0, 1.0, 1.0]) == [[1], []]


def test_inference_selects_as_training_does():
    pre, scale = torch.randn(50, 20), torch.rand(20) + 0.1
    topk = TopK(3)
    trained, used = topk.train().select(pre, scale), topk.eval().select(pre, scale)
    assert torch.equal(trained.latents, used.latents)
    assert torch.equal(trained.rows, used.rows)


@pytest.mark.parametrize(("progress", "k"), [(0.0, 20), (0.1, 16), (0.25, 10), (0.4, 4), (1.0, 4)])
def test_k_falls_linearly_over_the_annealed_fraction(progress, k):
    topk = TopK(k=4, start=5, anneal=0.4)
    topk.set_progress(progress)
    assert topk.k_now == k


def test_without_annealing_k_is_constant():
    topk = TopK(k=4)
    topk.set_progress(0.0)
    assert topk.k_now == 4


def test_annealing_is_part_of_the_state():
    topk = TopK(k=4, start=5, anneal=0.4)
    topk.set_progress(0.2)
    other = TopK(k=4, start=5, anneal=0.4)
    other.load_state_dict(topk.state_dict())
    assert other.k_now == topk.k_now == 12


# --- scores ---


def scored(activation: Activation) -> Crosscoder:
    """Latents of very different size, some of one source alone, in units that are not raw ones."""
    crosscoder = crosscoder_of(activation, (5, 7), dtype="float64")
    with torch.no_grad():
        crosscoder.decoder("base").mul_(torch.linspace(0, 3, 24)[:, None])
        crosscoder.decoder("chat").mul_(torch.linspace(4, 0, 24)[:, None])
    crosscoder.set_units(torch.linspace(-3, 3, 12), torch.tensor([0.5] * 5 + [4.0] * 7))
    return crosscoder


def by_hand(crosscoder: Crosscoder, acts: torch.Tensor, score: str) -> list[list[float]]:
    """relu(pre_tj) · n_j, one entry at a time."""
    W_enc, W_dec, b_enc = (
        w.detach() for w in (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc)
    )
    n = [SCORES[score](float(row[:5].norm()), float(row[5:].norm())) for row in W_dec]
    return [[max(0.0, float(W_enc[j] @ x + b_enc[j])) * n[j] for j in range(24)] for x in acts]


def chosen(crosscoder: Crosscoder, acts: torch.Tensor) -> list[tuple[int, int]]:
    return [tuple(entry) for entry in (crosscoder.encode(acts).to_dense() > 0).nonzero().tolist()]


@every_score
def test_the_k_with_the_largest_score_are_active(score):
    crosscoder, acts = scored(TopK(3, score=score)), random_acts(30, 12, dtype=torch.float64)
    rows = by_hand(crosscoder, acts, score)
    expected = [
        (t, j)
        for t, row in enumerate(rows)
        for j in sorted(sorted(range(24), key=lambda j: -row[j])[:3])
    ]
    assert chosen(crosscoder.train(), acts) == expected
    assert chosen(crosscoder.eval(), acts) == expected
    raw = acts * crosscoder.scale + crosscoder.mean
    assert chosen(crosscoder.fold(), raw) == expected


@every_score
def test_batch_topk_uses_the_same_scores(score):
    crosscoder, acts = (
        scored(BatchTopK(3, score=score)).train(),
        random_acts(30, 12, dtype=torch.float64),
    )
    rows = by_hand(crosscoder, acts, score)
    places = [(t, j) for t in range(30) for j in range(24)]
    assert chosen(crosscoder, acts) == sorted(
        sorted(places, key=lambda place: -rows[place[0]][place[1]])[:90]
    )


def test_every_score_selects_differently():
    acts = random_acts(30, 12, dtype=torch.float64)
    found = {score: chosen(scored(TopK(3, score=score)), acts) for score in SCORES}
    assert len({str(entries) for entries in found.values()}) == len(SCORES)


@every_score
@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_the_score_is_saved(kind, score):
    activation = kind(3, score=score)
    assert activation.spec()["score"] == score
    norms = torch.tensor([[3.0], [4.0]])
    assert kind(**activation.arguments()).selection_scale(norms).item() == pytest.approx(
        SCORES[score](3.0, 4.0)
    )


@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_a_score_per_source_is_a_constraint(kind):
    with pytest.raises(UserError, match=r"constraint=\[decoupled\]"):
        kind(3, score="decoupled")


@pytest.mark.parametrize("kind", [TopK, BatchTopK])
def test_an_unknown_score_is_named(kind):
    with pytest.raises(
        UserError, match=r"activation\.score is sum, concat, mixed or none, not 'max'"
    ):
        kind(3, score="max")
