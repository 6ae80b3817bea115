"""Prompts as both models read them, and what pieces of evidence measure on them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from crosscoder.analysis.reading import TOKENS_PER_CHUNK, mask_known_tokens
from crosscoder.core.model import Crosscoder
from crosscoder.core.reading import Reading
from crosscoder.core.sources import Sources
from crosscoder.core.types import Acts, PerToken, SourceActs
from crosscoder.lm import Pair
from crosscoder.lm.chat.document import Document
from crosscoder.lm.head import get_logits
from crosscoder.lm.hooks import run_decoder
from crosscoder.lm.log_probs import compute_kls_in_chunks
from crosscoder.lm.types import PreTrainedModel

BATCH_SIZE = 16


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts up to the point where a model answers.

    Args:
        pair: The language models.
        crosscoder: Crosscoder that compares two of them.
        reading: The prompts, one after the other.
        n_prompts: Number of prompts.
    """

    pair: Pair
    crosscoder: Crosscoder
    reading: Reading
    n_prompts: int
    _maxima: dict[int, tuple[Crosscoder, np.ndarray]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, pair: Pair, crosscoder: Crosscoder, prompts: Sequence[Document]) -> "ReadPrompts":
        """Read prompts with both models."""
        hookpoints = list(dict.fromkeys(source.hookpoint for source in crosscoder.sources))
        reading = pair.read(prompts, hookpoints, opening=True)
        return cls(pair, crosscoder, reading, len(prompts))

    @cached_property
    def is_counted(self) -> Bool[Tensor, "tokens"]:
        """A mask of the tokens of the kinds that the crosscoder was trained on; only they count."""
        return mask_known_tokens(self.crosscoder, self.reading)

    @property
    def lengths(self) -> Float[np.ndarray, "prompts"]:
        """The number of tokens that count in each prompt."""
        documents = self.reading.tokens.document[self.is_counted]
        return torch.bincount(documents, minlength=self.n_prompts).double().numpy()

    # --- activations ---

    @property
    def chat(self) -> SourceActs:
        """Activations of the first compared source."""
        first, _ = self.crosscoder.sources.require_comparable("evidence")
        return self.reading[first]

    @property
    def difference(self) -> SourceActs:
        """Activations of the first compared source minus those of the second."""
        _, second = self.crosscoder.sources.require_comparable("evidence")
        return self.chat - self.reading[second]

    def find_maxima(self, values: PerToken) -> Float[np.ndarray, "prompts"]:
        """Return the largest value of each prompt, over the tokens that count."""
        counted = self.reading.tokens.document[self.is_counted]
        maxima = torch.full((self.n_prompts,), -torch.inf, dtype=torch.float64)
        kept = values.detach().double().cpu()[self.is_counted]
        return maxima.scatter_reduce(0, counted, kept, "amax").numpy()

    def find_code_maxima(self, dictionary: Crosscoder) -> Float[np.ndarray, "prompts latents"]:
        """Return the largest activation of every latent in each prompt; computed once."""
        if id(dictionary) not in self._maxima:
            self._maxima[id(dictionary)] = (dictionary, self._compute_code_maxima(dictionary))
        return self._maxima[id(dictionary)][1]

    def _compute_code_maxima(self, dictionary: Crosscoder) -> np.ndarray:
        n_latents = dictionary.n_latents
        maxima = torch.zeros(self.n_prompts * n_latents, dtype=torch.float64)
        documents = self.reading.tokens.document
        acts = gather_acts(self.reading, dictionary.sources)
        for rows in self.is_counted.nonzero()[:, 0].split(TOKENS_PER_CHUNK):
            code = dictionary.encode(acts[rows].to(dictionary.W_enc.device)).to_sparse()
            prompts = documents[rows[code.index.rows.cpu()]]
            cells = prompts * n_latents + code.index.latents.cpu()
            maxima.scatter_reduce_(0, cells, code.values.detach().double().cpu(), "amax")
        return maxima.view(self.n_prompts, n_latents).numpy()

    # --- predictions ---

    @cached_property
    def final_states(self) -> tuple[Tensor, Tensor]:
        """Final hidden states of chat and of base at every token, [tokens, d_model] each."""
        first, second = self._list_models()
        return self._compute_final_states(self.pair[first]), self._compute_final_states(
            self.pair[second]
        )

    @cached_property
    def kl(self) -> PerToken:
        """KL(chat ‖ base) of the next token's distributions, in nats."""
        first, second = self._list_models()
        chat, base = self.final_states
        return compute_kls_in_chunks(self.pair[first], chat, self.pair[second], [base])[0]

    def compute_logit_difference(self, ids: Sequence[int], shares: Sequence[float]) -> PerToken:
        """Return Σ_v w_v (logit_chat(v) − logit_base(v)) at every token."""
        chosen = torch.tensor(ids)
        weights = torch.tensor(shares, dtype=torch.float32)
        sums = []
        for lm, hidden in zip(self._list_models(), self.final_states, strict=True):
            logits = get_logits(self.pair[lm], hidden, chosen)
            sums.append(logits.cpu() @ weights)
        return sums[0] - sums[1]

    def _list_models(self) -> tuple[str, str]:
        sources = self.crosscoder.sources
        first, second = sources.require_comparable("evidence")
        return sources[first].lm, sources[second].lm

    @torch.no_grad()
    def _compute_final_states(self, model: PreTrainedModel) -> Tensor:
        """Return a model's final hidden states at every token of the reading."""
        tokens = self.reading.tokens
        counts = torch.bincount(tokens.document, minlength=self.n_prompts).tolist()
        texts = tokens.ids.split(counts)
        states = []
        for start in range(0, len(texts), BATCH_SIZE):
            batch = texts[start : start + BATCH_SIZE]
            # padding on the right is out of sight of causal attention, so no mask is needed
            ids = pad_sequence(list(batch), batch_first=True).to(model.device)
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
            out = run_decoder(model, ids, positions)
            for row, text in zip(out, batch, strict=True):
                states.append(row[: len(text)])
        return torch.cat(states)


def gather_acts(reading: Reading, sources: Sources) -> Acts:
    """Return a reading's activations of sources, one of which may be a difference of two."""
    columns = []
    for name in sources.names:
        columns.append(reading.sources.read_source(name, lambda one: reading[one]))
    return torch.cat(columns, dim=-1)
