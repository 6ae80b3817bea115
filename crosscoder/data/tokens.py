"""Token sets: whole sequences of tokens on which models are run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from crosscoder.core.types import Tokens
from crosscoder.data.storage.store import Store
from crosscoder.errors import NotApplicable


@dataclass(frozen=True)
class TokenSet:
    """Tokens of whole sequences: row i is position i % seq_len of sequence i // seq_len.

    Args:
        tokens: The tokens.
        seq_len: Tokens per sequence.
        notes: Entries for the store's meta.json: skipped rows, the date in chats.
    """

    tokens: Tokens
    seq_len: int
    notes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_store(cls, store: Store) -> "TokenSet":
        """Read the tokens of a store.

        Raises:
            NotApplicable: The store holds pairs of tokens of several tokenizers, on which no model
                can be run.
        """
        if store.meta.get("aligned"):
            raise NotApplicable(
                "this needs one tokenizer for all models, but the models of this store "
                "have different ones"
            )
        tokens = Tokens.cat([store.tokens(shard) for shard in store])
        return TokenSet(tokens, store.seq_len)

    @property
    def n_sequences(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def starts(self) -> Tensor:
        """First row of each sequence, and the number of rows at the end."""
        return torch.arange(0, len(self.tokens) + 1, self.seq_len)

    @cached_property
    def sha256(self) -> str:
        """Hash of ids and positions, i.e. of everything that the models see."""
        digest = hashlib.sha256(f"{self.seq_len};".encode())
        for column in (self.tokens.ids, self.tokens.position):
            digest.update(column.to(torch.int32).numpy().tobytes())
        return digest.hexdigest()

    @property
    def meta(self) -> dict[str, Any]:
        """Entries of the store's meta.json, other than that hash."""
        return dict(self.notes)

    def get_sequences(self, start: int, stop: int) -> Tokens:
        """Return the rows of the sequences [start, stop)."""
        return self.tokens[int(self.starts[start]) : int(self.starts[stop])]

    def get_model_input(self, lm: str, start: int, stop: int) -> tuple[Tokens, Tensor | slice]:
        """Return the tokens on which a language model is run for the sequences [start, stop).

        Returns:
            Tokens [(stop - start) * seq_len], and which of them are the rows of this set.
        """
        return self.get_sequences(start, stop), slice(None)

    def take(self, n_tokens: int) -> "TokenSet":
        """Return the first sequences: as many as `n_tokens` fill, at least one."""
        n = min(max(1, n_tokens // self.seq_len), self.n_sequences)
        return TokenSet(self.get_sequences(0, n), self.seq_len)
