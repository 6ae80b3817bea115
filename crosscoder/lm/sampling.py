"""Generate token by token, so that answers can be shown as they grow and be stopped at any token.

A token is drawn with Gumbel noise: argmax_v (logits_v / temperature + g_v), g_v = −log(−log u_v),
which is a draw from the softmax (Gumbel 1954). All rows of a batch, and every call with one seed,
get the same noise at the same step. Two answers to one prompt therefore differ only where the
models' distributions differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from crosscoder.lm.chat.document import Document
from crosscoder.lm.head import get_logits
from crosscoder.lm.hooks import run_decoder
from crosscoder.lm.loading.checks import require_logits
from crosscoder.lm.text import get_stop_id, tokenize
from crosscoder.lm.types import Cache, PreTrainedModel, Tokenizer
from crosscoder.values import require_number, require_whole

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Sampling:
    """Settings by which tokens are chosen.

    Args:
        max_new_tokens: Longest answer, in tokens.
        temperature: Divides the logits; 0 chooses the most probable token.
        top_k: Number of most probable tokens to draw from; 0 keeps all.
        top_p: Smallest total probability of the tokens to draw from; 1 keeps all.
        seed: Seed of the noise.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_whole("max_new_tokens", self.max_new_tokens)
        require_whole("top_k", self.top_k, least=0)
        require_whole("seed", self.seed, least=0, most=LARGEST_SEED)
        require_number("temperature", self.temperature, least=0)
        require_number("top_p", self.top_p, above=0, most=1)


@torch.no_grad()
def stream_tokens(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch time"],
    sampling: Sampling,
    stop_ids: frozenset[int],
) -> Iterator[list[int | None]]:
    """Yield the next token of every row; None for a row that has ended.

    The stream ends when every row has ended, or after `max_new_tokens`.

    Args:
        model: The language model; it may be under an edit.
        ids: Prompts of one length.
        sampling: How tokens are chosen.
        stop_ids: Tokens that end an answer; they are yielded, too.
    """
    require_logits(model)
    noise = Noise(sampling)
    cache = make_cache(model)
    has_ended = [False] * len(ids)
    new = ids.to(model.device)
    for _ in range(sampling.max_new_tokens):
        hidden = run_decoder(model, new, cache=cache)
        chosen = choose_tokens(get_logits(model, hidden[:, -1].contiguous()), sampling, noise)
        step: list[int | None] = []
        for row, token in enumerate(chosen.tolist()):
            step.append(None if has_ended[row] else token)
            has_ended[row] = has_ended[row] or token in stop_ids
        yield step
        if all(has_ended):
            return
        new = chosen[:, None]


def sample_answer(
    model: PreTrainedModel, tokenizer: Tokenizer, prompt: Document, sampling: Sampling
) -> str:
    """Generate one answer, up to its end of turn.

    Args:
        model: The language model; it may be under an edit.
        tokenizer: Its tokenizer.
        prompt: A chat, or a plain text that the model continues.
        sampling: How tokens are chosen.
    """
    ids, _ = tokenize(tokenizer, prompt, opening=True)
    rows = torch.tensor([ids])
    steps = stream_tokens(model, rows, sampling, list_stop_ids(tokenizer))
    found = [step[0] for step in steps if step[0] is not None]
    return str(tokenizer.decode(found, skip_special_tokens=True)).strip()


def make_cache(model: PreTrainedModel) -> Cache:
    """Return an empty KV cache of a model."""
    from transformers import DynamicCache  # takes seconds

    return DynamicCache(config=model.config)


def list_stop_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens that end an answer: the end of text, and the chat template's end of turn.

    Raises:
        UserError: The tokenizer has neither.
    """
    found = {get_stop_id(tokenizer)}
    if tokenizer.eos_token_id is not None:
        found.add(int(tokenizer.eos_token_id))  # type: ignore[arg-type]
    return frozenset(found)


class Noise:
    """Gumbel noise, the same at each step for one seed."""

    def __init__(self, sampling: Sampling) -> None:
        self.generator = torch.Generator().manual_seed(sampling.seed)

    def draw(self, n: int) -> Float[Tensor, "vocabulary"]:
        """Draw the noise of the next step."""
        return -torch.empty(n).exponential_(generator=self.generator).log()


def choose_tokens(
    logits: Float[Tensor, "batch vocabulary"], sampling: Sampling, noise: Noise
) -> Int[Tensor, "batch"]:
    """Choose the next token of every row."""
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scores = restrict(logits / sampling.temperature, sampling)
    return (scores + noise.draw(logits.shape[-1]).to(scores.device)).argmax(-1)


def restrict(
    scores: Float[Tensor, "batch vocabulary"], sampling: Sampling
) -> Float[Tensor, "batch vocabulary"]:
    """Return the scores with −∞ for the tokens outside of top_k and top_p."""
    size = scores.shape[-1]
    n_kept = min(sampling.top_k or size, size)
    if n_kept == size and sampling.top_p == 1:
        return scores
    largest, tokens = scores.topk(n_kept, dim=-1)
    p = largest.softmax(-1)
    before = p.cumsum(-1) - p
    # the first token is kept always: nothing comes before it
    kept = largest.masked_fill(before >= sampling.top_p, -torch.inf)
    return torch.full_like(scores, -torch.inf).scatter(-1, tokens, kept)
