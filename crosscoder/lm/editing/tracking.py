"""Track the passes of an edited model: conversation, tokens to edit, partner activations."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from crosscoder.lm.editing.conversation import (
    Conversation,
    detach_conversation,
    refuse_ambiguous_growth,
)
from crosscoder.lm.editing.forward_args import ForwardArgs, make_unused_cache_error
from crosscoder.lm.editing.generating import GenerateWatcher
from crosscoder.lm.editing.lower_layers import CleanPasses, digest_arguments
from crosscoder.lm.editing.partner import Partner
from crosscoder.lm.editing.positions import PositionRule, TokenHistory

_edit_numbers = itertools.count()


@dataclass(frozen=True)
class TrackedPass:
    """Current forward pass of the edited model.

    Args:
        conversation: Conversation that the pass belongs to.
        cache: Cache that was passed to it, if any.
        chosen: True for the tokens to edit, [batch, new].
        partner_acts: Activations of the partner models by source, each [batch, new, d_source].
        digest: Digest of its arguments; None if clean passes are not reused.
    """

    conversation: Conversation
    cache: Cache | None
    chosen: Tensor
    partner_acts: dict[str, Tensor]
    digest: bytes | None


class PassTracker:
    """State of one edit across forward passes.

    Args:
        model: The edited model.
        partners: Models that are read on every pass, by name.
        rule: Rule that selects the positions to edit.
        generate_watcher: Observer of the model's `generate`.
        clean_passes: Clean passes that are reused; None runs them every time.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        partners: Mapping[str, Partner],
        rule: PositionRule,
        generate_watcher: GenerateWatcher,
        clean_passes: CleanPasses | None = None,
    ) -> None:
        self.model = model
        self.partners = partners
        self.rule = rule
        self.generate_watcher = generate_watcher
        self.clean_passes = clean_passes
        self.edit_number = next(_edit_numbers)
        # tokens of the pass before, if it had no cache and began a conversation
        self.tokens_before: TokenHistory | None = None

    def begin_pass(self, outer: Mapping[str, Any], inner: Mapping[str, Any]) -> TrackedPass:
        """Record new tokens and run the partner models on them.

        Args:
            outer: Arguments of the model by name; empty if its decoder is called directly.
            inner: Arguments of its decoder by name.
        """
        forward_args = ForwardArgs.from_call(self.model, outer, inner)
        is_generating = self.generate_watcher.is_running
        if is_generating:
            forward_args = replace(forward_args, mask=self.generate_watcher.mask)
        conversation, is_new = self._get_conversation(forward_args)
        prompt = None
        if is_generating:
            prompt = self.generate_watcher.get_prompt(conversation.ids, forward_args.ids)
        history = conversation.add_tokens(forward_args.ids, prompt)
        is_uncached_start = is_new and forward_args.cache is None and not is_generating
        self._watch_growth(history if is_uncached_start else None)
        chosen = self._choose_tokens(conversation, history, forward_args)
        digest = None if self.clean_passes is None else digest_arguments(outer, inner)
        partner_acts = self._read_partners(conversation, forward_args, digest)
        return TrackedPass(conversation, forward_args.cache, chosen, partner_acts, digest)

    def end_pass(self, finished: TrackedPass, output: Any) -> None:
        """Store the conversation on the cache that the decoder returns."""
        cache = finished.cache
        for value in output.values() if isinstance(output, Mapping) else output:
            if isinstance(value, Cache):
                cache = value
                break
        if finished.cache is not None and cache is not finished.cache:
            raise make_unused_cache_error(self.model)
        if cache is not None:
            finished.conversation.attach(cache)

    def _get_conversation(self, forward_args: ForwardArgs) -> tuple[Conversation, bool]:
        """Continue the cache's conversation or start one; also return whether it is new."""
        batch, n_new = forward_args.ids.shape
        conversation = None
        if forward_args.cache is not None:
            conversation = detach_conversation(forward_args.cache, self.edit_number, batch, n_new)
        if conversation is None:
            return self._start_conversation(forward_args), True
        if not self.generate_watcher.is_running:
            forward_args.refuse_long_recurrent_mask()
        return conversation, False

    def _start_conversation(self, forward_args: ForwardArgs) -> Conversation:
        """Start a conversation, in which the partners have caches if the edited model has one."""
        partner_caches = None
        if forward_args.cache is not None or forward_args.makes_cache:
            partner_caches = {}
            for lm, partner in self.partners.items():
                partner_caches[lm] = DynamicCache(config=partner.model.config)
        return Conversation(self.edit_number, partner_caches, forward_args.ids[:, :0])

    def _watch_growth(self, tokens: TokenHistory | None) -> None:
        """Compare passes without a cache: one may be meant to continue the one before."""
        if tokens is not None and self.tokens_before is not None:
            refuse_ambiguous_growth(self.rule, tokens, self.tokens_before)
        self.tokens_before = tokens

    def _choose_tokens(
        self, conversation: Conversation, history: TokenHistory, forward_args: ForwardArgs
    ) -> Tensor:
        """Return the new tokens to edit, [batch, new]."""
        n_new = forward_args.ids.shape[1]
        chosen = conversation.select(self.rule, history, n_new)
        token_mask = forward_args.get_token_mask(conversation.ids.shape[1])
        if token_mask is None:
            return chosen
        # padding need not be a special token
        return chosen & token_mask[:, -n_new:].bool().to(chosen.device)

    def _read_partners(
        self, conversation: Conversation, forward_args: ForwardArgs, digest: bytes | None
    ) -> dict[str, Tensor]:
        """Run the partner models on the new tokens and return their activations by source."""
        acts = {}
        for lm, partner in self.partners.items():
            found = None
            if self.clean_passes is not None:
                found = self.clean_passes.find(partner, digest)
            if found is None:
                cache = None if conversation.partners is None else conversation.partners[lm]
                mask = forward_args.get_partner_mask(conversation.ids.shape[1])
                found = partner.read(forward_args.ids, forward_args.positions, mask, cache)
            if self.clean_passes is not None:
                self.clean_passes.keep(partner, digest, found)
            acts |= found
        return acts
