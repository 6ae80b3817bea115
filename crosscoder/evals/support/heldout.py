"""Whole held-out sequences, and what language models predict on them with and without an edit."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from crosscoder.core.sampling import take_evenly
from crosscoder.core.types import Acts, Kind, Tokens
from crosscoder.data import Store
from crosscoder.data.storage.finite import refuse_not_finite
from crosscoder.errors import UserError
from crosscoder.lm.log_probs import compute_kls_in_chunks
from crosscoder.lm.packing import get_final_layout, run_isolated


def read_sequences(
    store: Store, n_tokens: int, kinds: Sequence[int] = (), batch_tokens: int = 1024
) -> Iterator[Tokens]:
    """Yield batches of whole sequences, evenly spaced over the store.

    Args:
        store: Store of the tokens.
        n_tokens: Number of tokens, rounded up to whole sequences.
        kinds: Only sequences that consist mostly of these kinds of tokens; empty for all.
        batch_tokens: Tokens per batch.
    """
    for tokens, _, _ in read_batches(store, (), n_tokens, batch_tokens, kinds):
        yield tokens


def read_batches(
    store: Store,
    names: Sequence[str],
    n_tokens: int,
    batch_tokens: int,
    kinds: Sequence[int] = (),
    exclude: Sequence[str] = ("special",),
) -> Iterator[tuple[Tokens, Acts, Bool[Tensor, "batch"]]]:
    """Yield whole sequences as `read_sequences` does, with activations.

    Args:
        store: Store of the tokens and activations.
        names: Sources to read; without any, the activations have width 0.
        n_tokens: Number of tokens, rounded up to whole sequences.
        batch_tokens: Tokens per batch.
        kinds: Only sequences that consist mostly of these kinds of tokens; empty for all.
        exclude: Kinds of tokens that the crosscoder was not trained on.

    Yields:
        Tokens, activations, and which tokens are not excluded.
    """
    seq_len = store.seq_len
    per_batch = max(1, batch_tokens // seq_len)
    chosen, firsts = _choose_sequences(store, n_tokens, kinds)
    for shard, numbers in groupby(chosen, key=lambda number: bisect_right(firsts, number) - 1):
        tokens = store.tokens(shard)
        acts = store.acts(shard, names) if names else torch.zeros(store.counts[shard], 0)
        eligible = store.find_eligible(shard, names, exclude)
        if names:
            refuse_not_finite(store, shard, names, acts[eligible], eligible)
        local = [number - firsts[shard] for number in numbers]
        for start in range(0, len(local), per_batch):
            rows = torch.cat(
                [
                    torch.arange(number * seq_len, (number + 1) * seq_len)
                    for number in local[start : start + per_batch]
                ]
            )
            yield tokens[rows], acts[rows], eligible[rows]


def _choose_sequences(
    store: Store, n_tokens: int, kinds: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Choose sequences evenly among those of these kinds.

    Returns:
        The numbers of the sequences, and the number of each shard's first sequence.
    """
    # a store that was made elsewhere may have shards of any size
    firsts = [0, *accumulate(count // store.seq_len for count in store.counts)]
    suitable: list[int] = []
    for shard in store:
        suitable += [firsts[shard] + number for number in _find_suitable(store, shard, kinds)]
    n_sequences = -(-n_tokens // store.seq_len)
    chosen = take_evenly(suitable, n_sequences)
    if not firsts[-1]:
        raise UserError(
            f"store {store.folder} does not hold whole sequences of {store.seq_len:,} tokens, "
            "as its seq_len says"
        )
    return chosen, firsts


def _find_suitable(store: Store, shard: int, kinds: Sequence[int]) -> list[int]:
    """Return the numbers, within a shard, of its whole sequences of these kinds."""
    n = store.counts[shard] // store.seq_len
    if not kinds:
        return list(range(n))
    kind = store.tokens(shard).kind[: n * store.seq_len].view(n, store.seq_len)
    fraction = torch.isin(kind, torch.tensor(list(kinds))).float().mean(1)
    return (fraction > 0.5).nonzero()[:, 0].tolist()


def find_predicting_tokens(tokens: Tokens, seq_len: int) -> Bool[Tensor, "sequences seq_len"]:
    """Return which tokens predict a next one of their piece of a document and are not special."""
    position = tokens.position.view(-1, seq_len)
    kind = tokens.kind.view(-1, seq_len)
    has_next = position[:, 1:] == position[:, :-1] + 1
    predicts = torch.zeros_like(position, dtype=torch.bool)
    predicts[:, :-1] = has_next & (kind[:, :-1] != Kind.SPECIAL)
    return predicts


@dataclass
class PlainText:
    """Held-out plain text, to compare a model's next-token distributions before and after an edit.

    Args:
        batches: Tokens of whole sequences.
        seq_len: Tokens per sequence.
    """

    batches: list[Tokens]
    seq_len: int

    @classmethod
    def from_store(cls, store: Store, n_tokens: int) -> "PlainText":
        """Read sequences of documents that are no chats, or of chats if there is nothing else.

        Raises:
            UserError: No token predicts a next one.
        """
        batches = list(read_sequences(store, n_tokens, (Kind.PLAIN,)))
        if not batches:
            batches = list(read_sequences(store, n_tokens))
        if not any(bool(find_predicting_tokens(one, store.seq_len).any()) for one in batches):
            raise UserError(
                f"store {store.folder} has no token that predicts another: take a larger n_heldout"
            )
        return cls(batches, store.seq_len)

    @torch.no_grad()
    def final_states(self, model) -> list[Tensor]:
        """Return final hidden states at predicting tokens, [predicting, d_model] each."""
        states = []
        for tokens in self.batches:
            ids = tokens.ids.view(-1, self.seq_len).to(model.device)
            positions = tokens.position.view(-1, self.seq_len).to(model.device)
            out = run_isolated(model, ids, get_final_layout(model, positions))
            predicts = find_predicting_tokens(tokens, self.seq_len)
            states.append(out[predicts.to(model.device)])
        return states

    def measure_kls(
        self, model, clean: list[Tensor], edited: Sequence[list[Tensor]]
    ) -> Float[Tensor, "edits predicting"]:
        """Return KL(clean ‖ edited) at every predicting token, in nats, one row per edit."""
        by_batch = []
        for before, *after in zip(clean, *edited, strict=True):
            by_batch.append(compute_kls_in_chunks(model, before, model, after))
        return torch.cat(by_batch, dim=1)
