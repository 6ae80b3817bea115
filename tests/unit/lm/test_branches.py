"""Branches of a row against passes that run each window alone, after its context."""

import pytest
import torch

from crosscoder.lm import Hookpoint, Pair
from crosscoder.lm.branches import choose_branching, make_branches
from crosscoder.lm.hooks import apply_edits, run_decoder

HOOKPOINT = Hookpoint(0, "resid_post")
# the first piece continues a document, the second begins one
POSITIONS = torch.tensor([7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6])
PIECES = [(0, 5), (5, 12)]
STARTS = [1, 1, 0, 5, 9, 6]
LENGTH = 3


def run_alone(model, ids: torch.Tensor, start: int, added: torch.Tensor) -> torch.Tensor:
    """Return the states of a window that is run with its context and nothing else."""
    first = next(low for low, high in PIECES if low <= start < high)
    row = ids[None, first : start + LENGTH]

    def edit(acts):
        acts = acts.clone()
        acts[0, -LENGTH:] += added
        return acts

    with torch.no_grad(), apply_edits(model, {HOOKPOINT: edit}):
        return run_decoder(model, row, torch.arange(row.shape[1])[None])[0, -LENGTH:]


@torch.no_grad()
@pytest.mark.parametrize("branching", ["tree", "rows"])
def test_a_branch_is_the_window_alone_after_its_context(tiny_pair: Pair, branching):
    model = tiny_pair["base"]
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(6, 200, (len(POSITIONS),), generator=generator)
    added = 2 * torch.randn(len(STARTS), LENGTH, 32, generator=generator)
    branches = make_branches(ids, POSITIONS, torch.tensor(STARTS), LENGTH, branching)
    in_row, in_branch = branches.compute_states(model, {HOOKPOINT: added})
    for number, start in enumerate(STARTS):
        expected = run_alone(model, ids, start, torch.zeros(LENGTH, 32))
        torch.testing.assert_close(in_row[number], expected, atol=1e-5, rtol=1e-4)
        expected = run_alone(model, ids, start, added[number])
        torch.testing.assert_close(in_branch[number], expected, atol=1e-5, rtol=1e-4)
    assert (in_row - in_branch).abs().amax() > 0.1


def test_a_model_that_takes_the_mask_grows_a_tree(tiny_pair: Pair):
    assert choose_branching(tiny_pair["base"], 32, 8, 4) == "tree"


def test_a_model_that_ignores_the_mask_copies_contexts(tiny_pair: Pair, monkeypatch):
    def run_without_mask(model, ids, positions, mask=None):
        return run_decoder(model, ids, positions)

    monkeypatch.setattr("crosscoder.lm.branches.run_decoder", run_without_mask)
    assert choose_branching(tiny_pair["base"], 32, 8, 4) == "rows"


def test_a_model_that_refuses_the_mask_copies_contexts(tiny_pair: Pair, monkeypatch):
    def refuse(model, ids, positions, mask=None):
        raise NotImplementedError("no such mask")

    monkeypatch.setattr("crosscoder.lm.branches.run_decoder", refuse)
    assert choose_branching(tiny_pair["base"], 32, 8, 4) == "rows"
