"""Tokens that the finetuned model predicts more often than its base, on any text.

    Δ_c(v)   mean over the tokens of context c of logit_chat(v) − logit_base(v)

    top tokens    fraction of the contexts in which v is among the K tokens with the largest Δ_c
    NMF           max(Δ, 0) ≈ W H with W, H ≥ 0: a component is a topic, a row of H its tokens

"Diff Mining: logit differences reveal finetuning objectives" (2026), which is the default of the
diffing toolkit. Only logits are needed. Both are label-free. A component's weight is the part of
the sum of W H that is its own. The tokens that may be named are those of the lenses (`least_count`
of the eval); the paper names any.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.errors import NotApplicable
from crosscoder.evals.diffing.evidence import MAX_PIECES, TokensPiece
from crosscoder.evals.diffing.material import Material
from crosscoder.values import require_whole

MAX_ITERATIONS = 300


@dataclass(frozen=True)
class TopTokens:
    """The tokens that are most often among those with the largest logit difference.

    Args:
        k: Number of tokens of each context that are counted.
    """

    k: int = 20
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("k of the top tokens", self.k)

    def find_evidence(self, material: Material) -> list[TokensPiece]:
        """Return the most frequent tokens."""
        predictions = material.predictions
        frequency = count_top_tokens(predictions.logit_differences, self.k)
        mean = predictions.logit_differences.clamp(min=0).mean(0)
        # tokens of one frequency are ordered by their mean difference
        order = np.lexsort((-mean.numpy(), -frequency.numpy()))
        pieces = []
        for place in order[:MAX_PIECES].tolist():
            if frequency[place] > 0:
                token = int(predictions.ids[place])
                name = material.pair.name_tokens([token])[0]
                pieces.append(TokensPiece(name, float(frequency[place]), (token,), (1.0,)))
        return pieces


def count_top_tokens(
    differences: Float[Tensor, "contexts tokens"], k: int
) -> Float[Tensor, "tokens"]:
    """Return for each token the fraction of the contexts in which it is among the first `k`.

    Only positive differences count.
    """
    top = differences.topk(min(k, differences.shape[1]), dim=1)
    counts = torch.bincount(top.indices[top.values > 0], minlength=differences.shape[1])
    return counts / len(differences)


@dataclass(frozen=True)
class LogitDifferenceNMF:
    """Topics of the logit differences, each with its first tokens.

    Args:
        n_components: Number of topics; fewer if there are fewer contexts.
        n_tokens: Number of tokens that a topic is read by.
        seed: Random seed of the factorisation.
    """

    n_components: int = 5
    n_tokens: int = 20
    seed: int = 0
    uses_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_whole("n_components of the factorisation", self.n_components, most=MAX_PIECES)
        require_whole("n_tokens of the factorisation", self.n_tokens)
        require_whole("seed of the factorisation", self.seed, least=0)

    def find_evidence(self, material: Material) -> list[TokensPiece]:
        """Return the topics, the one with the largest part first."""
        predictions = material.predictions
        positive = predictions.logit_differences.clamp(min=0).numpy()
        if not positive.any():
            raise NotApplicable("no token is more likely in the finetuned model")
        parts, topics = factorise(positive, self.n_components, self.seed)
        pieces = []
        for component in np.argsort(-parts, kind="stable").tolist():
            if parts[component] > 0:
                topic = topics[component]
                pieces.append(
                    self._describe(material, predictions.ids, float(parts[component]), topic)
                )
        return pieces

    def _describe(
        self, material: Material, ids: Int[Tensor, "chosen"], part: float, topic: np.ndarray
    ) -> TokensPiece:
        first = np.argsort(-topic, kind="stable")[: self.n_tokens]
        first = first[topic[first] > 0]
        shares = topic[first] / topic[first].sum()
        tokens = ids[torch.from_numpy(first)].tolist()
        name = " ".join(material.pair.name_tokens(tokens[:5]))
        return TokensPiece(name, part, tuple(tokens), tuple(shares.tolist()))


def factorise(
    matrix: Float[np.ndarray, "contexts tokens"], n_components: int, seed: int = 0
) -> tuple[Float[np.ndarray, "components"], Float[np.ndarray, "components tokens"]]:
    """Factorise a non-negative matrix as W H.

    Args:
        matrix: The matrix.
        n_components: Number of rows of H; at most the number of rows and columns of the matrix.
        seed: Random seed.

    Returns:
        The part of each component in the sum of W H, and H with rows that sum to 1.
    """
    import warnings

    from sklearn.decomposition import NMF
    from sklearn.exceptions import ConvergenceWarning

    n = min(n_components, *matrix.shape)
    settings: dict[str, Any] = {"n_components": n, "init": "nndsvda", "random_state": seed}
    nmf = NMF(**settings, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        # the last steps change hardly anything
        warnings.simplefilter("ignore", ConvergenceWarning)
        W = nmf.fit_transform(matrix.astype(np.float64))
    sums = nmf.components_.sum(1)
    parts = W.sum(0) * sums
    topics = nmf.components_ / np.maximum(sums, 1e-12)[:, None]
    return parts / max(parts.sum(), 1e-12), topics
