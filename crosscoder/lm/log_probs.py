"""Next-token log-probabilities of final hidden states, and what is computed from them.

A table [tokens, vocabulary] of all tokens would not fit in memory, so tokens are taken in chunks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.lm.head import get_logits
from crosscoder.lm.loading.checks import require_logits
from crosscoder.lm.types import PreTrainedModel

# A product with the head is fastest for a few hundred tokens, and other operations for a few, which
# stay in a processor's caches.
TOKENS_PER_PRODUCT = 256
TOKENS_PER_TABLE = 16


@torch.no_grad()
def compute_in_chunks(
    model: PreTrainedModel,
    function: Callable[..., Tensor],
    hiddens: Sequence[Tensor],
    targets: Tensor | None = None,
) -> Tensor:
    """Compute a function of next-token log-probabilities, a few tokens at a time.

    A table [tokens, vocabulary] of all tokens would not fit in memory.

    Args:
        model: The language model, whose head turns hidden states into log-probabilities.
        function: Called with one table of log-probabilities for each entry of `hiddens`, then with
            `targets` if there are any. Returns one row for each token.
        hiddens: Final hidden states, each [tokens, d_model].
        targets: Token ids, [tokens] or [tokens, candidates].

    Returns:
        The rows of all tokens, float64 on the CPU.
    """
    columns: list[Iterable[Tensor]] = [iterate_log_probs(model, hidden) for hidden in hiddens]
    if targets is not None:
        columns.append(targets.split(TOKENS_PER_TABLE))
    found = []
    for args in zip(*columns, strict=True):
        moved = [arg.to(args[0].device) for arg in args]
        found.append(function(*moved).double().cpu())
    return torch.cat(found)


@torch.no_grad()
def compute_kls_in_chunks(
    model: PreTrainedModel, clean: Tensor, other: PreTrainedModel, hiddens: Sequence[Tensor]
) -> Float[Tensor, "hiddens tokens"]:
    """Return KL(p ‖ q) at every token between one model and several variants of another.

    The distributions p are computed once for all variants.

    Args:
        model: The model with the distributions p.
        clean: Its final hidden states, [tokens, d_model].
        other: The model whose head belongs to the variants.
        hiddens: Final hidden states of the variants, each [tokens, d_other].

    Returns:
        KL in nats, float64 on the CPU, one row for each variant.
    """
    found = torch.zeros(len(hiddens), len(clean), dtype=torch.float64)
    for start in range(0, len(clean), TOKENS_PER_PRODUCT):
        chunk = slice(start, start + TOKENS_PER_PRODUCT)
        tables = compute_log_probs(model, clean[chunk]).split(TOKENS_PER_TABLE)
        for row, hidden in enumerate(hiddens):
            kls = []
            for p, q in zip(tables, iterate_log_probs(other, hidden[chunk]), strict=True):
                kls.append(compute_kl(p, q.to(p.device)))
            found[row, chunk] = torch.cat(kls).double().cpu()
    return found


def iterate_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d_model"]
) -> Iterator[Float[Tensor, "few vocabulary"]]:
    """Yield next-token log-probabilities of final hidden states, a few tokens at a time.

    There is one empty table if there are no tokens.
    """
    require_logits(model)
    for chunk in hidden.split(TOKENS_PER_PRODUCT):
        for logits in get_logits(model, chunk).split(TOKENS_PER_TABLE):
            yield logits.log_softmax(-1)


def compute_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d_model"]
) -> Float[Tensor, "tokens vocabulary"]:
    """Return next-token log-probabilities of final hidden states.

    Raises:
        NotApplicable: The model computes its own logits in another way.
    """
    require_logits(model)
    return get_logits(model, hidden).log_softmax(-1)


def pick_log_probs(
    table: Float[Tensor, "tokens vocabulary"], targets: Int[Tensor, "tokens"]
) -> Float[Tensor, "tokens"]:
    """Return log p of one token per row."""
    return table.gather(1, targets[:, None])[:, 0]


def compute_kl(
    p: Float[Tensor, "tokens vocabulary"], q: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, "tokens"]:
    """Return KL(p ‖ q) per row, in nats, from log-probabilities."""
    return (p.exp() * (p - q)).sum(-1)
