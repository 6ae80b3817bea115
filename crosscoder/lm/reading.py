"""Read the activations of all models of a pair on prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosscoder.core.reading import Reading
from crosscoder.core.sources import Sources
from crosscoder.core.types import Tokens
from crosscoder.errors import UserError
from crosscoder.lm.align import Token, key_tokens, pair_tokens
from crosscoder.lm.chat.document import Document, Unusable
from crosscoder.lm.chat.messages import as_document
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.lm.text import tokenize

if TYPE_CHECKING:
    from crosscoder.lm.pair import Pair


@dataclass(frozen=True)
class Tokenized:
    """A prompt as one model's tokenizer cuts it.

    Args:
        tokens: All tokens, on which the model runs.
        read_positions: The positions whose activations are read: all, or where tokenizers differ
            those of paired tokens.
    """

    tokens: list[Token]
    read_positions: list[int]

    @property
    def ids(self) -> list[int]:
        """Token ids, in order."""
        return [token for token, _ in self.tokens]


def read_prompts(
    pair: "Pair",
    prompts: Document | Sequence[Document],
    sources: Sources,
    batch_size: int = 16,
    opening: bool = False,
) -> Reading:
    """Read the activations of every model on one prompt or many (see `Pair.read`).

    Args:
        pair: The models.
        prompts: A text or chat, or a list of them.
        sources: The streams to read.
        batch_size: Prompts in one forward pass.
        opening: Whether chats end with the chat template's opening of an answer.
    """
    tokenized = tokenize_prompts(pair, _list_prompts(prompts), opening)
    return read_tokenized(pair, tokenized, sources, batch_size)


def read_tokenized(
    pair: "Pair",
    tokenized: Mapping[str, Sequence[Tokenized]],
    sources: Sources,
    batch_size: int = 16,
) -> Reading:
    """Read the activations of every model on tokens.

    Args:
        pair: The models.
        tokenized: The prompts as each model's tokenizer cuts them, by model.
        sources: The streams to read.
        batch_size: Prompts in one forward pass.
    """
    acts: dict[str, Tensor] = {}
    for lm, texts in tokenized.items():
        acts |= _read_model(pair, lm, texts, sources, batch_size)
    tokens = _gather_tokens(tokenized[pair.leader])
    strings = pair.name_tokens(tokens.ids.tolist())
    columns = torch.cat([acts[name] for name in sources.names], dim=-1)
    return Reading(columns.float().cpu(), tokens, strings, sources)


def tokenize_prompts(
    pair: "Pair", prompts: Sequence[Document], opening: bool
) -> dict[str, list[Tokenized]]:
    """Tokenize every prompt for every model.

    Raises:
        Unusable: A model has no embedding for one of the tokens.
    """
    # The opening of an answer belongs to the chat template, so its tokens cannot be paired.
    if pair.is_aligned and not opening:
        return _tokenize_aligned(pair, prompts)
    texts = []
    for prompt in prompts:
        ids, kinds = tokenize(pair.tokenizer, prompt, opening)
        pair.require_ids(ids)
        texts.append(Tokenized(list(zip(ids, kinds, strict=True)), list(range(len(ids)))))
    return dict.fromkeys(pair.lms, texts)


def _tokenize_aligned(pair: "Pair", prompts: Sequence[Document]) -> dict[str, list[Tokenized]]:
    """Tokenize every prompt for every model; the tokens paired between all models are read."""
    tokenizers = pair.tokenizers
    found: dict[str, list[Tokenized]] = {lm: [] for lm in tokenizers}
    for prompt in prompts:
        texts = {lm: key_tokens(tokenizer, prompt) for lm, tokenizer in tokenizers.items()}
        pairs = pair_tokens(*(text.keys for text in texts.values()))
        for i, (lm, text) in enumerate(texts.items()):
            found[lm].append(Tokenized(text.tokens, [positions[i] for positions in pairs]))
    return found


def _read_model(
    pair: "Pair", lm: str, texts: Sequence[Tokenized], sources: Sources, batch_size: int
) -> dict[str, Tensor]:
    """Read one model's sources on all prompts, each [n_read, d_source]."""
    names: dict[Hookpoint, str] = {}
    for source in sources:
        if source.lm == lm:
            names[Hookpoint.parse(source.hookpoint)] = source.name
    hookpoints = list(names)
    pair.measurements.check_sites(lm, hookpoints)
    rows: dict[str, list[Tensor]] = {name: [] for name in names.values()}
    for start in range(0, len(texts), batch_size):
        batch = texts[start : start + batch_size]
        acts = _read_batch(pair, lm, hookpoints, batch)
        for hookpoint, name in names.items():
            for row, text in zip(acts[hookpoint], batch, strict=True):
                rows[name].append(row[text.read_positions])
    return {name: torch.cat(tensors) for name, tensors in rows.items()}


def _read_batch(
    pair: "Pair", lm: str, hookpoints: list[Hookpoint], batch: Sequence[Tokenized]
) -> Mapping[Hookpoint, Tensor]:
    # padding on the right is out of sight of causal attention, so no mask is needed
    ids = pad_sequence([torch.tensor(text.ids) for text in batch], batch_first=True)
    ids = ids.to(pair.device)
    positions = torch.arange(ids.shape[1], device=pair.device).expand_as(ids)
    return read(pair[lm], hookpoints, ids, positions)


def _gather_tokens(texts: Sequence[Tokenized]) -> Tokens:
    """Gather the tokens that are read, prompt after prompt."""
    rows = []
    for number, text in enumerate(texts):
        for position in text.read_positions:
            token, kind = text.tokens[position]
            rows.append((token, position, number, kind))
    columns = torch.tensor(rows, dtype=torch.int64).view(-1, 4).T.contiguous()
    return Tokens(*columns)


def _list_prompts(prompts: Document | Sequence[Document]) -> list[Document]:
    """Return a list of prompts; a text or a chat alone becomes a list of one.

    Raises:
        UserError: The input is no prompt and no list of prompts.
        Unusable: The same, of one prompt.
    """
    if isinstance(prompts, str):
        return [as_document(prompts)]
    is_sequence = isinstance(prompts, Sequence) and not isinstance(prompts, bytes)
    if not is_sequence or not prompts:
        hint = ": write [message] for a chat of one message" if isinstance(prompts, Mapping) else ""
        raise UserError(
            "prompts are a text, a chat (a list of messages), or a list of them, "
            f"not {prompts!r:.80}{hint}"
        )
    if isinstance(prompts[0], Mapping):
        return [as_document(prompts)]
    documents = []
    for number, prompt in enumerate(prompts, 1):
        try:
            documents.append(as_document(prompt))
        except Unusable as error:
            raise Unusable(f"prompt {number}: {error}") from error
    return documents
