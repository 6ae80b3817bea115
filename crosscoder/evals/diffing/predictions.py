"""Next-token predictions of two models on the same held-out tokens.

    KL(t)    KL(chat ‖ base) of the next-token distributions at token t
    Δ_c(v)   mean over the tokens t of context c of logit_chat(v | t) − logit_base(v | t)

A context is a piece of at most `context_length` consecutive tokens of one document. The models see
what precedes it in the document.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from crosscoder.core.types import PerToken, Tokens
from crosscoder.errors import NotApplicable
from crosscoder.evals.support.heldout import PlainText, find_predicting_tokens
from crosscoder.lm import Pair
from crosscoder.lm.head import get_logits
from crosscoder.lm.loading.checks import require_logits
from crosscoder.lm.log_probs import compute_kl
from crosscoder.lm.types import PreTrainedModel
from crosscoder.runtime.progress import progress

# Distributions [tokens, 262k] that are held together. The more, the less often the head is read.
TOKENS_PER_CHUNK = 64


@dataclass(frozen=True)
class Predictions:
    """Differences between the predictions of two models.

    Args:
        tokens: The tokens at which something is predicted.
        contexts: Number of each token's context, ascending from 0.
        kl: KL(chat ‖ base) at every token, in nats.
        ids: The tokens whose logits are compared.
        logit_differences: Δ_c(v) of every context.
    """

    tokens: Tokens
    contexts: Int[Tensor, "batch"]
    kl: PerToken
    ids: Int[Tensor, "chosen"]
    logit_differences: Float[Tensor, "contexts chosen"]

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return len(self.logit_differences)


@torch.no_grad()
def compare_predictions(
    pair: Pair,
    lms: tuple[str, str],
    batches: Sequence[Tokens],
    seq_len: int,
    context_length: int,
    named_ids: Bool[Tensor, "vocabulary"] | None = None,
) -> Predictions:
    """Compare the predictions of two models.

    Args:
        pair: The language models.
        lms: The finetuned model and its base.
        batches: Tokens of whole sequences.
        seq_len: Tokens per sequence.
        context_length: Largest number of tokens of a context.
        named_ids: The tokens whose logits are compared, by id; None for all.

    Raises:
        NotApplicable: No token predicts a next one, or a model computes its own logits in another
            way.
    """
    text = PlainText(list(batches), seq_len)
    tokens, contexts = number_contexts(text, context_length)
    states = []
    for lm in lms:
        states.append(torch.cat(text.final_states(pair[lm])))
        require_logits(pair[lm])
    models = [pair[lm] for lm in lms]
    n_ids = min(_count_logits(model, x) for model, x in zip(models, states, strict=True))
    ids = _list_named(n_ids, named_ids)
    sums = torch.zeros(int(contexts[-1]) + 1, len(ids))
    kls = []
    with progress("tokens") as bar:
        task = bar.add_task("compare predictions", total=len(tokens), note="")
        for start in range(0, len(tokens), TOKENS_PER_CHUNK):
            chunk = slice(start, start + TOKENS_PER_CHUNK)
            chat = get_logits(models[0], states[0][chunk])[:, :n_ids]
            base = get_logits(models[1], states[1][chunk])[:, :n_ids].to(chat.device)
            kls.append(compute_kl(chat.log_softmax(-1), base.log_softmax(-1)).double().cpu())
            sums.index_add_(0, contexts[chunk], (chat - base).cpu()[:, ids])
            bar.advance(task, len(chat))
    counts = torch.bincount(contexts)
    return Predictions(tokens, contexts, torch.cat(kls), ids, sums / counts[:, None])


def _count_logits(model: PreTrainedModel, hidden: Float[Tensor, "tokens d_model"]) -> int:
    return get_logits(model, hidden[:1]).shape[-1]


def _list_named(n_ids: int, named_ids: Bool[Tensor, "vocabulary"] | None) -> Int[Tensor, "chosen"]:
    """Return the ids below `n_ids` that may be named."""
    if named_ids is None:
        return torch.arange(n_ids)
    return named_ids[:n_ids].nonzero()[:, 0]


def number_contexts(text: PlainText, context_length: int) -> tuple[Tokens, Int[Tensor, "batch"]]:
    """Divide the tokens that predict a next one into contexts.

    Returns:
        The tokens, and the number of each token's context.

    Raises:
        NotApplicable: There are no such tokens.
    """
    predicting = []
    sequences = []
    n_sequences = 0
    for tokens in text.batches:
        rows = find_predicting_tokens(tokens, text.seq_len).flatten().nonzero()[:, 0]
        predicting.append(tokens[rows])
        sequences.append(n_sequences + rows // text.seq_len)
        n_sequences += len(tokens) // text.seq_len
    kept = Tokens.cat(predicting) if predicting else None
    if kept is None or not len(kept):
        raise NotApplicable("no held-out token predicts another: take a larger n_tokens")
    piece = kept.position // context_length
    places = torch.stack([torch.cat(sequences), kept.document, piece], dim=1)
    is_first = torch.ones(len(kept), dtype=torch.bool)
    is_first[1:] = (places[1:] != places[:-1]).any(1)
    return kept, is_first.long().cumsum(0) - 1
