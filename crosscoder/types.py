"""The axis legend: every tensor's axes by name, once.

batch      tokens in a batch; each token is one sample
d_total    the sources' widths, concatenated in order
d_source   one source's width
n_latents  the dictionary's size
nnz        entries of a sparse code, row by row
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Acts = Float[Tensor, "batch d_total"]
SourceActs = Float[Tensor, "batch d_source"]
Dense = Float[Tensor, "batch n_latents"]
PerLatent = Float[Tensor, "n_latents"]
PerToken = Float[Tensor, "batch"]
Decoder = Float[Tensor, "n_latents d_total"]
Entries = Float[Tensor, "nnz"]
Indices = Int[Tensor, "nnz"]


@dataclass(frozen=True)
class Tokens:
    """What each activation row was read on: `ids`, `position` in its document, `document` number, `kind` (see Kind)."""

    ids: Int[Tensor, "batch"]
    position: Int[Tensor, "batch"]
    document: Int[Tensor, "batch"]
    kind: Int[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows) -> "Tokens":
        return Tokens(self.ids[rows], self.position[rows], self.document[rows], self.kind[rows])

    @classmethod
    def cat(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """One after the other."""
        columns = [part.tensors() for part in parts]
        return cls(**{name: torch.cat([column[name] for column in columns]) for name in columns[0]})

    @property
    def ordinary(self) -> Bool[Tensor, "batch"]:
        """Which are not special."""
        return self.kind != Kind.SPECIAL

    def tensors(self) -> dict[str, Tensor]:
        """By name, as they are stored."""
        return {"ids": self.ids, "position": self.position, "document": self.document, "kind": self.kind}


class Kind:
    """Kinds of tokens: text, a chat's words, its template (turn markers and role names), and BOS and its like."""

    PLAIN, CHAT, TEMPLATE, SPECIAL = range(4)
    NAMES = ("plain", "chat", "template", "special")
