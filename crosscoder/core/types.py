"""Types of tensors: the axes of every tensor by name.

batch      tokens in a batch; each token is one sample
d_total    the sources' widths, concatenated in order
d_source   one source's width
n_latents  the size of the dictionary
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
    """Tokens of activation rows.

    Args:
        ids: Numbers in the vocabulary.
        position: Positions in their documents.
        document: Numbers of their documents.
        kind: See `Kind`.
    """

    ids: Int[Tensor, "batch"]
    position: Int[Tensor, "batch"]
    document: Int[Tensor, "batch"]
    kind: Int[Tensor, "batch"]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        n_documents = len(self.document.unique())
        return f"Tokens({len(self):,} tokens of {n_documents:,} documents)"

    def __getitem__(self, rows) -> "Tokens":
        return Tokens(self.ids[rows], self.position[rows], self.document[rows], self.kind[rows])

    @classmethod
    def cat(cls, pieces: Sequence["Tokens"]) -> "Tokens":
        """Concatenate tokens."""
        columns = [piece.tensors() for piece in pieces]
        return cls(**{name: torch.cat([column[name] for column in columns]) for name in columns[0]})

    @property
    def is_content(self) -> Bool[Tensor, "batch"]:
        """Return a mask of the tokens that are not special."""
        return self.kind != Kind.SPECIAL

    def tensors(self) -> dict[str, Tensor]:
        """Return the columns by the names under which they are stored."""
        return {
            "ids": self.ids,
            "position": self.position,
            "document": self.document,
            "kind": self.kind,
        }


class Kind:
    """Kinds of tokens: plain text, words of a chat, its template, and BOS and the like.

    The template consists of turn markers and role names.
    """

    PLAIN, CHAT, TEMPLATE, SPECIAL = range(4)
    NAMES = ("plain", "chat", "template", "special")
