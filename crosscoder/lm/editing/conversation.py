"""State of an edited conversation: its tokens, which of them are edited, and the partners' caches.

With a KV cache, the state is stored on the cache itself, so that copies of the cache carry it, too.
An edit of a token in a cache cannot be undone. Therefore the edit is refused if a rule later
selects other tokens among those, or if the cache has changed outside the edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import Cache

from crosscoder.errors import UserError
from crosscoder.lm.editing.caches import (
    ONE_PASS,
    compute_fingerprint,
    count_tokens,
    is_recurrent,
    is_same_fingerprint,
)
from crosscoder.lm.editing.positions import PositionRule, TokenHistory

_ATTRIBUTE = "_crosscoder_conversation"


@dataclass
class Conversation:
    """State of one conversation of the edited model.

    Args:
        edit: Number of the edit that it belongs to.
        partners: Caches of the partner models, by name; None if passes have no cache.
        ids: Tokens that have gone through the model, [batch, time].
        prompt_length: Number of tokens in the prompt.
        chosen: True for the tokens that the rule selected, [batch, time].
        fingerprint: What the cache held of the last token (see `compute_fingerprint`).
    """

    edit: int
    partners: Mapping[str, Cache] | None
    ids: Int[Tensor, "batch time"]
    prompt_length: int = 0
    chosen: Bool[Tensor, "batch time"] | None = None
    fingerprint: Tensor | None = None

    def add_tokens(self, new: Tensor, prompt: Tensor | None) -> TokenHistory:
        """Append new tokens, [batch, new], and return the history that a rule sees.

        Args:
            new: The new tokens.
            prompt: Prompt of `generate`, [batch, time]; None outside of `generate`.
        """
        self.ids = torch.cat([self.ids, new], dim=1)
        n_tokens = self.ids.shape[1]
        if prompt is None:
            self.prompt_length = self.prompt_length or n_tokens
            return TokenHistory(self.ids, self.prompt_length)
        self.prompt_length = prompt.shape[1]
        ids = self.ids if n_tokens >= self.prompt_length else prompt
        return TokenHistory(ids, self.prompt_length, n_provided=self.prompt_length)

    def select(
        self, rule: PositionRule, history: TokenHistory, n_new: int
    ) -> Bool[Tensor, "batch new"]:
        """Return which of the last `n_new` tokens are to be edited.

        Raises:
            UserError: The rule selects other tokens among those in the cache than before.
        """
        n_tokens = self.ids.shape[1]
        n_past = n_tokens - n_new
        chosen = apply_rule(rule, history)[:, :n_tokens]
        if self.chosen is not None and not torch.equal(self.chosen, chosen[:, :n_past]):
            raise UserError(
                "these tokens move where the answer begins, which changes the tokens to edit among "
                "those already in the cache: give the whole prompt at once, with a new cache, "
                "or edit positions='all'"
            )
        self.chosen = chosen
        return chosen[:, n_past:]

    def attach(self, cache: Cache) -> None:
        """Store the state on a cache that has processed the same tokens."""
        self.fingerprint = compute_fingerprint(cache)
        setattr(cache, _ATTRIBUTE, self)


def detach_conversation(cache: Cache, edit: int, batch: int, n_new: int) -> Conversation | None:
    """Remove the conversation from a cache and return it; None if the cache is empty.

    A pass that fails therefore leaves a cache that belongs to no edit.

    Args:
        cache: Cache that is passed to the edited model.
        edit: Number of the edit.
        batch: Number of rows of the new tokens.
        n_new: Number of new tokens in each row.

    Raises:
        UserError: The cache holds tokens that the edit has not seen, or was changed since.
    """
    conversation: Conversation | None = vars(cache).pop(_ATTRIBUTE, None)
    n_known = 0 if conversation is None else conversation.ids.shape[1]
    n_past = count_tokens(cache, n_known)
    if n_past == 0:
        return None
    if conversation is None or conversation.edit != edit:
        raise UserError(
            f"the cache given to the edited model holds {n_past} tokens "
            "that the edit has not seen: fill it while the edit is open"
        )
    if n_past != n_known:
        raise UserError(
            f"the cache holds {n_past} tokens where the edit has seen {n_known}: "
            "it was cropped, or filled outside the edit; use a new one"
        )
    if batch != len(conversation.ids):
        raise UserError(
            f"the cache holds {len(conversation.ids)} rows, and tokens are given for {batch}: "
            "use a cache of the same batch"
        )
    if not is_same_fingerprint(conversation.fingerprint, compute_fingerprint(cache)):
        raise UserError(
            "the cache was rearranged between two tokens (beam search?), "
            "which an edit cannot follow: use greedy decoding or sampling"
        )
    caches = [cache, *(conversation.partners or {}).values()]
    if n_new > 1 and any(map(is_recurrent, caches)):
        raise UserError(f"{ONE_PASS}, or use no cache (use_cache=False)")
    return conversation


def apply_rule(rule: PositionRule, history: TokenHistory) -> Bool[Tensor, "batch time"]:
    """Return the tokens that a rule selects, after checking its output: users may write rules."""
    chosen = rule(history)
    shape = history.ids.shape
    if not isinstance(chosen, Tensor):
        found = type(chosen).__name__
    elif chosen.dtype != torch.bool or chosen.shape != shape:
        found = f"{chosen.dtype} {list(chosen.shape)}"
    else:
        return chosen.to(history.ids.device)
    raise UserError(
        f"a rule for positions must return a bool tensor {list(shape)}, one entry per token, "
        f"not {found}"
    )


def refuse_ambiguous_growth(
    rule: PositionRule, history: TokenHistory, before: TokenHistory
) -> None:
    """Refuse tokens that begin with those of the pass before if their meaning is ambiguous.

    Without a cache they may continue that conversation or begin another one.

    Raises:
        UserError: The rule selects other tokens in the two cases.
    """
    n_before = before.ids.shape[1]
    if len(history.ids) != len(before.ids) or history.ids.shape[1] <= n_before:
        return
    if not torch.equal(history.ids[:, :n_before], before.ids):
        return
    continued = TokenHistory(history.ids, before.prompt_length)
    if not torch.equal(apply_rule(rule, history), apply_rule(rule, continued)):
        raise UserError(
            "these tokens begin with those of the pass before, without a cache: to continue that "
            "conversation call generate, or pass its cache on (past_key_values); "
            "for another one open the edit anew"
        )
