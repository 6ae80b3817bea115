"""Pieces of evidence about what a finetuning changed, and the interface of methods that rank them.

A piece is a latent, a direction, some tokens or a context. Whatever it is, it gives every prompt
one number, its score: the largest value of its own measure over the prompt's tokens t.

    latent      f_j(t)                          the activation
    direction   ⟨x(t), v⟩                       x chat's activation, or chat's minus base's
    tokens      Σ_v w_v (logit_chat(v | t) − logit_base(v | t))
    context     KL(chat ‖ base) at t            the measure by which contexts are ranked
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.core.model import Crosscoder
from crosscoder.evals.diffing.material import Material
from crosscoder.evals.diffing.prompts import ReadPrompts
from crosscoder.interventions.steer import Direction

MAX_PIECES = 20  # of one method
Reads = Literal["chat", "difference"]


@runtime_checkable
class Evidence(Protocol):
    """One piece of evidence."""

    @property
    def kind(self) -> str:
        """The kind of evidence: latent, direction, tokens or context."""
        ...

    @property
    def name(self) -> str:
        """Text by which tables call the piece."""
        ...

    @property
    def weight(self) -> float:
        """The figure by which its method ranked it."""
        ...

    def score(self, prompts: ReadPrompts) -> Float[np.ndarray, "prompts"]:
        """Return one number for each prompt."""
        ...


@runtime_checkable
class Method(Protocol):
    """A way to find out what a finetuning changed."""

    @property
    def uses_labels(self) -> bool:
        """True if it sees which of the training prompts elicit the behaviour."""
        ...

    def find_evidence(self, material: Material) -> Sequence[Evidence]:
        """Return at most MAX_PIECES pieces of evidence, the best one first.

        Raises:
            NotApplicable: The material lacks what the method needs.
        """
        ...


@dataclass(frozen=True)
class LatentPiece:
    """A latent of a dictionary.

    Args:
        latent: Index of the latent.
        weight: The figure by which its method ranked it.
        dictionary: The crosscoder, or the SAE of the difference, that has the latent.
        direction: What it adds to the difference of the models, a unit vector [d_source].
    """

    latent: int
    weight: float
    dictionary: Crosscoder
    direction: Direction
    kind = "latent"

    @property
    def name(self) -> str:
        return f"latent {self.latent}"

    def score(self, prompts: ReadPrompts) -> Float[np.ndarray, "prompts"]:
        """Return the largest activation in each prompt."""
        return prompts.find_code_maxima(self.dictionary)[:, self.latent]


@dataclass(frozen=True)
class DirectionPiece:
    """A direction at the hookpoint, in the finetuned model's raw units.

    Args:
        name: Text by which tables call it.
        weight: The figure by which its method ranked it.
        direction: A unit vector [d_source].
        reads: The activations that are projected on it: chat's, or chat's minus base's.
    """

    name: str
    weight: float
    direction: Direction
    reads: Reads
    kind = "direction"

    @classmethod
    def from_vector(
        cls, name: str, weight: float, vector: Tensor, reads: Reads
    ) -> "DirectionPiece":
        """Make a piece of a vector of any length."""
        return cls(name, weight, normalize(vector.float(), dim=0), reads)

    def score(self, prompts: ReadPrompts) -> Float[np.ndarray, "prompts"]:
        """Return the largest projection in each prompt."""
        acts = prompts.chat if self.reads == "chat" else prompts.difference
        return prompts.find_maxima(acts @ self.direction)


@dataclass(frozen=True)
class TokensPiece:
    """One token, or several with weights, that the finetuned model predicts more often.

    Args:
        name: Text by which tables call it.
        weight: The figure by which its method ranked it.
        ids: Token ids, the most important one first.
        shares: Weights of the tokens, which sum to 1.
    """

    name: str
    weight: float
    ids: tuple[int, ...]
    shares: tuple[float, ...]
    kind = "tokens"

    def score(self, prompts: ReadPrompts) -> Float[np.ndarray, "prompts"]:
        """Return the largest weighted logit difference in each prompt."""
        return prompts.find_maxima(prompts.compute_logit_difference(self.ids, self.shares))


@dataclass(frozen=True)
class ContextPiece:
    """A context in which the two models predict differently.

    Args:
        name: Text of the context; its decisive token is marked.
        weight: KL(chat ‖ base) there, in nats.
    """

    name: str
    weight: float
    kind = "context"

    def score(self, prompts: ReadPrompts) -> Float[np.ndarray, "prompts"]:
        """Return the largest KL(chat ‖ base) in each prompt; the same for all contexts."""
        return prompts.find_maxima(prompts.kl)
