"""Run windows of a row of tokens again, each on its own, after the same context.

    row        a0 a1 a2 a3 b0 b1 b2           documents a and b
    windows    a1 a2 | a1 a2 | a2 a3 | b1 b2  the same tokens may occur several times

A *branch* is a window after the tokens of its document before it. One pass runs the row, which
stays as it is, and all branches, each with an edit of its own:

    tree       the row, then the windows; a mask lets the tokens of a window see each other and the
               tokens of their document before it, so contexts are computed once
    rows       the row, then each window with a copy of its context; for models that take no such
               mask

Which of them a model needs is measured.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosscoder.lm.hooks import Hookpoint, apply_edits, run_decoder
from crosscoder.lm.layout import Layout, find_piece_starts
from crosscoder.lm.loading.measuring import (
    get_rounding_tolerance,
    measure_token_error,
    random_ids,
)
from crosscoder.lm.types import PreTrainedModel
from crosscoder.values import require_choice

Branching = Literal["tree", "rows"]
Row = Int[Tensor, "n"]
Places = Int[Tensor, "windows length"]
Added = Float[Tensor, "windows length width"]
States = Float[Tensor, "windows length d_model"]


@dataclass(frozen=True)
class Branches:
    """A row of tokens, and branches of it, in the order in which the model gets them.

    Args:
        ids: Token ids of the row, then of the branches.
        positions: Their positions in their documents.
        in_row: Index of each window's tokens in the row.
        in_branch: Index of the same tokens in the window's branch.
        mask: Which tokens see which; None if every branch repeats its context.
    """

    ids: Row
    positions: Row
    in_row: Places
    in_branch: Places
    mask: Bool[Tensor, "n n"] | None

    def compute_states(
        self, model: PreTrainedModel, added: Mapping[Hookpoint, Added]
    ) -> tuple[States, States]:
        """Compute the final hidden states of the windows, in the row and in their branches.

        Args:
            model: The language model.
            added: What is added to the activations of each window's branch, by hookpoint.

        Returns:
            Final hidden states of the windows in the row, and in their branches.
        """
        layout = Layout("rows" if self.mask is None else "positions", self.positions[None])
        mask = None if self.mask is None else self.mask[None, None]
        with ExitStack() as stack:
            for hookpoint, values in added.items():
                change = layout.arrange(self._spread(values))
                edits = {hookpoint: lambda acts, change=change: acts + change.to(acts)}
                stack.enter_context(apply_edits(model, edits))
            out = run_decoder(model, layout.arrange(self.ids[None]), layout.positions, mask)
        states = layout.restore(out)[0]
        return states[self.in_row], states[self.in_branch]

    def _spread(self, values: Added) -> Float[Tensor, "1 n width"]:
        """Return the values at the branches' tokens, and zero elsewhere."""
        values = values.to(self.ids.device)
        spread = values.new_zeros(1, len(self.ids), values.shape[-1])
        spread[0, self.in_branch] = values
        return spread


def make_branches(
    ids: Row, positions: Row, starts: Int[Tensor, "windows"], length: int, branching: Branching
) -> Branches:
    """Append the branches of some windows to a row.

    Args:
        ids: Token ids of the row.
        positions: Their positions. Where they do not rise by one, another document begins.
        starts: First token of each window, which lies within one document.
        length: Tokens of a window.
        branching: Which kind of branches the model needs.
    """
    require_choice("branching", branching, ("tree", "rows"))
    in_row = starts[:, None] + torch.arange(length, device=ids.device)
    if branching == "tree":
        return _grow_tree(ids, positions, in_row)
    return _copy_contexts(ids, positions, in_row)


def _grow_tree(ids: Row, positions: Row, in_row: Places) -> Branches:
    """Append the windows alone, with a mask."""
    n_row = len(ids)
    n_windows, length = in_row.shape
    device = ids.device
    in_branch = n_row + torch.arange(n_windows * length, device=device).view_as(in_row)
    place = torch.cat([torch.arange(n_row, device=device), in_row.flatten()])
    piece = find_piece_starts(positions[None])[0].cumsum(0)[place]
    # of the row's tokens, a token sees those before `end`; a window's token only its context
    end = torch.cat(
        [torch.arange(n_row, device=device) + 1, in_row[:, :1].expand_as(in_row).flatten()]
    )
    branch = torch.full((len(place),), -1, device=device)
    branch[n_row:] = torch.arange(n_windows, device=device).repeat_interleave(length)
    is_context = (branch[None] == -1) & (place[None] < end[:, None])
    is_own = (branch[None] == branch[:, None]) & (branch[None] >= 0)
    is_earlier = place[None] <= place[:, None]
    mask = (piece[None] == piece[:, None]) & (is_context | (is_own & is_earlier))
    return Branches(ids[place], positions[place], in_row, in_branch, mask)


def _copy_contexts(ids: Row, positions: Row, in_row: Places) -> Branches:
    """Append each window with the tokens of its document before it."""
    all_ids = [ids]
    all_positions = [positions]
    in_branch = []
    n = len(ids)
    first_of_piece = find_piece_starts(positions[None])[0].nonzero()[:, 0]
    for window in in_row:
        first = int(first_of_piece[first_of_piece <= window[0]][-1])
        copy = ids[first : int(window[-1]) + 1]
        all_ids.append(copy)
        # they begin at 0, so that no copy seems to continue the tokens before it
        all_positions.append(torch.arange(len(copy), device=ids.device))
        n += len(copy)
        in_branch.append(torch.arange(n - len(window), n, device=ids.device))
    return Branches(
        torch.cat(all_ids), torch.cat(all_positions), in_row, torch.stack(in_branch), None
    )


@torch.no_grad()
def choose_branching(model: PreTrainedModel, n_row: int, n_windows: int, length: int) -> Branching:
    """Choose the branches with which an unedited window has the states that it has in the row.

    Args:
        model: The language model.
        n_row: Tokens in a row.
        n_windows: Largest number of windows of a row.
        length: Tokens of a window.
    """
    ids = random_ids(model, n_row).to(model.device)
    positions = torch.arange(n_row, device=model.device)
    # in falling order, because windows in rising order could be the row once more
    starts = torch.linspace(n_row - length, 0, n_windows, device=model.device).long()
    tree = make_branches(ids, positions, starts, length, "tree")
    try:
        in_row, in_branch = tree.compute_states(model, {})
    except Exception:  # an architecture that takes no such mask fails in its own way
        return "rows"
    error = measure_token_error(in_branch.flatten(0, 1), in_row.flatten(0, 1))
    return "tree" if error <= get_rounding_tolerance(model.dtype) else "rows"
