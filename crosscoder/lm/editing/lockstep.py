"""Edit one model by what several models see.

The partner models run in lockstep, on the same tokens, each with its own cache:

    tokens ──┬─> partner models, clean, up to their hookpoints ──┐
             └─> this model … hookpoint: acts ─> intervention(acts of all sources) ─> rest of it

The code of a token thus comes from a clean pass of all sources. This also holds while tokens are
generated one by one, with a cache or without. An edited model is clean up to its own hookpoint, so
it runs only once, unless it is read at several hookpoints. Cases that an edit cannot follow are
refused: rearranged or cropped caches, beams, drafts, inputs that are not tokens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedModel

from crosscoder.core.intervention import Intervention
from crosscoder.core.sources import Source
from crosscoder.core.types import Acts
from crosscoder.errors import UserError
from crosscoder.lm.architectures import get_decoder
from crosscoder.lm.editing.forward_args import bind_arguments
from crosscoder.lm.editing.generating import GenerateWatcher
from crosscoder.lm.editing.lower_layers import CleanPasses, LowerLayers
from crosscoder.lm.editing.partner import Partner, are_edits_disabled
from crosscoder.lm.editing.positions import PositionRule
from crosscoder.lm.editing.tracking import PassTracker, TrackedPass
from crosscoder.lm.hooks import Hookpoint, apply_edits

Mode = Literal["paired", "solo"]


class Lockstep:
    """Edit of one model, whose partner models run on the same tokens.

    Args:
        models: All models that the interventions read, by name.
        name: Name of the edited model.
        interventions: Interventions on the same sources. The rows of every batch are as many equal
            blocks, and each intervention acts on one of them.
        rule: Rule that selects the positions to edit.
        mode: Origin of the code: all sources ("paired"), or the edited model with stand-ins for the
            other sources ("solo").
        clean_passes: Clean passes that are reused; None runs them every time.
    """

    def __init__(
        self,
        models: Mapping[str, PreTrainedModel],
        name: str,
        interventions: Sequence[Intervention],
        rule: PositionRule,
        mode: Mode = "paired",
        clean_passes: CleanPasses | None = None,
    ) -> None:
        self.model = models[name]
        self.interventions = interventions
        self.sources = interventions[0].sources
        self.is_local = all(intervention.is_local for intervention in interventions)
        self.mode = mode
        self.edited_sources = [source for source in self.sources if source.lm == name]
        self.generate_watcher = GenerateWatcher(self.model)
        partners = self._make_partners(models, name)
        self.tracker = PassTracker(self.model, partners, rule, self.generate_watcher, clean_passes)
        self.lower_layers = self._find_lower_layers(clean_passes)
        # arguments of the whole model; its decoder may receive embeddings instead of tokens
        self.outer_args: dict[str, Any] = {}
        self.current_pass: TrackedPass | None = None

    def _make_partners(
        self, models: Mapping[str, PreTrainedModel], name: str
    ) -> dict[str, Partner]:
        """Return the models to read on every pass; none if the edited model's pass suffices."""
        if self.is_local or self.mode == "solo":
            return {}
        reads_itself = len(self.edited_sources) > 1
        partners = {}
        for lm, model in models.items():
            if lm != name or reads_itself:
                sources = tuple(source for source in self.sources if source.lm == lm)
                partners[lm] = Partner(model, sources)
        return partners

    def _find_lower_layers(self, clean_passes: CleanPasses | None) -> LowerLayers | None:
        """Return the layers up to the edit, if they need not run on every pass."""
        if clean_passes is None or len(self.edited_sources) > 1:
            return None
        hookpoint = Hookpoint.parse(self.edited_sources[0].hookpoint)
        return clean_passes.get_lower_layers(self.model, hookpoint)

    @contextmanager
    def edit(self) -> Iterator[PreTrainedModel]:
        """Context with the edited model; leaving restores it, also after an error."""
        if getattr(self.model, "_compiled_call_impl", None) is not None:
            raise UserError(
                "an edit acts on uncompiled models, and this one was compiled: "
                "load it anew, without compile"
            )
        model = self.model
        decoder = get_decoder(model)
        edits = {}
        for source in self.edited_sources:
            edits[Hookpoint.parse(source.hookpoint)] = self._make_edit(source)
        with ExitStack() as stack:
            stack.enter_context(self.generate_watcher.watch())
            for handle in (
                model.register_forward_pre_hook(self._before_model, with_kwargs=True),
                model.register_forward_hook(self._after_model, always_call=True),
                decoder.register_forward_pre_hook(self._before_decoder, with_kwargs=True),
                decoder.register_forward_hook(self._after_decoder, always_call=True),
            ):
                stack.callback(handle.remove)
            if self.lower_layers is not None:
                stack.enter_context(self.lower_layers.watch())
            yield stack.enter_context(apply_edits(model, edits))

    def _before_model(self, model: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        if not are_edits_disabled.get():
            self.outer_args = bind_arguments(model.forward, args, kwargs)

    def _after_model(self, *_: Any) -> None:
        if not are_edits_disabled.get():
            self.outer_args = {}

    @torch.no_grad()
    def _before_decoder(self, decoder: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Record the new tokens and run the partner models on them."""
        if are_edits_disabled.get():
            return
        inner_args = bind_arguments(decoder.forward, args, kwargs)
        self.current_pass = self.tracker.begin_pass(self.outer_args, inner_args)
        if self.lower_layers is not None:
            self.lower_layers.digest = self.current_pass.digest

    def _after_decoder(self, _: Any, args: tuple, output: Any) -> None:
        """Store the conversation on the cache."""
        if are_edits_disabled.get():
            return
        finished = self.current_pass
        self.current_pass = None
        if self.lower_layers is not None:
            self.lower_layers.digest = None
        if finished is not None and output is not None:  # the pass has not failed
            self.tracker.end_pass(finished, output)

    def _make_edit(self, source: Source) -> Callable[[Tensor], Tensor | None]:
        columns = self.sources.slice(source.name)

        @torch.no_grad()
        def edit(acts: Tensor) -> Tensor | None:
            if are_edits_disabled.get():
                return None
            if self.current_pass is None:
                raise UserError(
                    "a layer of the edited model was called by itself: "
                    "call the model, so that the edit sees the tokens"
                )
            chosen = self.current_pass.chosen.to(acts.device)
            if not chosen.any():
                return None
            new = acts.clone()
            for intervention, rows in self._split_rows(len(acts)):
                own = chosen & rows[:, None].to(chosen.device)
                if own.any():
                    clean = self._gather_sources(intervention, source, acts, own)
                    new[own] = intervention(clean)[:, columns].to(acts)
            return new

        return edit

    def _split_rows(self, n_rows: int) -> Iterator[tuple[Intervention, Bool[Tensor, "rows"]]]:
        """Yield each intervention and the rows on which it acts."""
        n_blocks = len(self.interventions)
        if n_rows % n_blocks:
            raise UserError(
                f"{n_blocks} interventions act on blocks of equal size, but the batch has "
                f"{n_rows} rows"
            )
        block = torch.arange(n_rows) // (n_rows // n_blocks)
        for number, intervention in enumerate(self.interventions):
            yield intervention, block == number

    def _gather_sources(
        self, intervention: Intervention, source: Source, acts: Tensor, chosen: Tensor
    ) -> Acts:
        """Return clean activations of all sources at the chosen positions, [n, d_total]."""
        assert self.current_pass is not None
        partner_acts = self.current_pass.partner_acts
        own = acts[chosen].float()
        if self.mode == "solo" and not intervention.is_local:
            return intervention.complete(own, source.name)
        columns = []
        for other in self.sources:
            if other.name in partner_acts:
                columns.append(partner_acts[other.name][chosen].float())
            elif other is source:
                columns.append(own)
            else:  # a local intervention does not depend on the other sources
                columns.append(own.new_zeros(len(own), other.width))
        return torch.cat(columns, dim=-1)
