"""Editing one model by what several of them see: the others run in lockstep, on the same tokens, each with its own cache.

    tokens ──┬─> other models, clean, up to their hookpoint ──┐
             └─> this model … hookpoint: acts ─> change(acts of all sources) ─> rest of the model

The code of a token thus comes from a clean pass of all sources, also while tokens are generated one by one with a cache. Up to an
edit's own hookpoint an edited model is still clean, so it need not run twice, unless it is read at several hookpoints.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from crosscoder.errors import UserError
from crosscoder.lm.hooks import Hookpoint, edited, read
from crosscoder.lm.where import Rule, Seen
from crosscoder.sources import Source, Sources
from crosscoder.types import Acts

Mode = Literal["paired", "solo"]
_clean: ContextVar[bool] = ContextVar("clean", default=False)  # no edit acts on a pass that is read as a clean one


@runtime_checkable
class Change(Protocol):
    """An intervention: new activations from clean ones, the sources side by side."""

    @property
    def sources(self) -> Sources:
        """The streams it takes and gives."""
        ...

    @property
    def local(self) -> bool:
        """Whether what it does to a source depends on nothing but that source."""
        ...

    def __call__(self, acts: Acts) -> Acts:
        """New activations, [n, d_total] from [n, d_total]."""
        ...

    def complete(self, acts: Tensor, source: str, /) -> Acts:
        """Activations of one source [n, d_source] with a stand-in for the others, for the mode `solo`."""
        ...


class _Partner:
    """A model that is only read, on the same tokens as the edited one."""

    def __init__(self, model: PreTrainedModel, sources: list[Source]) -> None:
        self.model = model
        self.hookpoints = {source.name: Hookpoint.parse(source.hookpoint) for source in sources}
        self.begin()

    def begin(self) -> None:
        self.cache = DynamicCache(config=self.model.config)

    def read(self, ids: Tensor, positions: Tensor | None, mask: Tensor | None) -> dict[str, Tensor]:
        """Its sources' activations of these tokens, each [batch, new, d_source]."""
        token = _clean.set(True)
        try:
            hookpoints = list(dict.fromkeys(self.hookpoints.values()))
            found = read(self.model, hookpoints, ids, positions, mask, self.cache)
        finally:
            _clean.reset(token)
        return {name: found[hookpoint] for name, hookpoint in self.hookpoints.items()}


class Lockstep:
    """What happens around every forward pass of the edited model; see the module's docstring.

    Args:
        models: all that the change reads, by name.
        name: of the edited one.
        change: the intervention.
        rule: at which positions.
        mode: where the code comes from: "paired", or "solo" with a stand-in for the other sources.
    """

    def __init__(
        self, models: Mapping[str, PreTrainedModel], name: str, change: Change, rule: Rule, mode: Mode = "paired"
    ) -> None:
        self.model, self.change, self.rule, self.mode = models[name], change, rule, mode
        self.own = [source for source in change.sources if source.lm == name]
        self.reads_itself = len(self.own) > 1 and not change.local
        partners = [] if change.local or mode == "solo" else [lm for lm in models if lm != name or self.reads_itself]
        self.partners = [_Partner(models[lm], [s for s in change.sources if s.lm == lm]) for lm in partners]
        self.seen: Seen | None = None
        self.last_keys: Tensor | None = None

    @contextmanager
    def __call__(self) -> Iterator[PreTrainedModel]:
        """The edited model; restored on leaving, also on error."""
        decoder = self.model.get_decoder()
        edits = {Hookpoint.parse(source.hookpoint): self._edit(source) for source in self.own}
        with ExitStack() as stack:
            stack.callback(decoder.register_forward_pre_hook(self._before, with_kwargs=True).remove)
            stack.callback(decoder.register_forward_hook(self._after, with_kwargs=True).remove)
            yield stack.enter_context(edited(self.model, edits))

    @torch.no_grad()
    def _before(self, _: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        """Notice the new tokens, and let the others read them."""
        if _clean.get():
            return
        ids = kwargs["input_ids"] if kwargs.get("input_ids") is not None else next(iter(args), None)
        if ids is None:
            raise UserError("an edit needs to see the tokens: call the model with input_ids, not with inputs_embeds")
        self._follow(ids, kwargs.get("cache"))
        positions, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
        self.read = {}
        for partner in self.partners:
            self.read |= partner.read(ids, positions, mask)

    def _follow(self, ids: Tensor, cache: Cache | None) -> None:
        """Begin a conversation, or go on with the one that is going on."""
        past = cache.get_seq_length() if cache is not None else 0
        if past == 0:
            self.seen = Seen(ids, ids.shape[1])
            for partner in self.partners:
                partner.begin()
        elif self.seen is None or past != self.seen.ids.shape[1] or len(ids) != len(self.seen.ids):
            raise UserError(
                f"the cache given to the edited model holds {past} tokens that the edit has not seen: enter it before the first"
            )
        elif not _same(_last_keys(cache), self.last_keys):
            raise UserError("the cache was rearranged between two tokens (beam search?), which an edit cannot follow")
        else:
            self.seen = Seen(torch.cat([self.seen.ids, ids], dim=1), self.seen.begun)
        self.new = ids.shape[1]

    def _after(self, _: Any, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        if not _clean.get():
            self.last_keys = _last_keys(getattr(output, "cache", None))

    def _edit(self, source: Source) -> Callable[[Tensor], Tensor | None]:
        @torch.no_grad()
        def edit(acts: Tensor) -> Tensor | None:
            if _clean.get() or self.seen is None:
                return None
            chosen = self.rule(self.seen)[:, -self.new :].to(acts.device)
            if not chosen.any():
                return None
            whole = self._whole(source, acts, chosen)
            new = acts.clone()
            new[chosen] = self.change(whole)[:, self.change.sources.slice(source.name)].to(acts)
            return new

        return edit

    def _whole(self, source: Source, acts: Tensor, chosen: Tensor) -> Acts:
        """Clean activations of all sources at the chosen positions, [n, d_total]."""
        mine = acts[chosen].float()
        if self.mode == "solo" and not self.change.local:
            return self.change.complete(mine, source.name)
        columns = []
        for other in self.change.sources:
            if other.name in self.read:
                columns.append(self.read[other.name][chosen].float())
            else:  # to a local change the others do not matter
                columns.append(mine if other is source else mine.new_zeros(len(mine), other.width))
        return torch.cat(columns, dim=-1)


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is None or b is None or torch.equal(a, b)


def _last_keys(cache: Any) -> Tensor | None:
    """What the first layer's cache holds of the last token: it moves if rows are rearranged."""
    layers = getattr(cache, "layers", None)
    keys = layers[0].keys if layers and getattr(layers[0], "is_initialized", False) else None
    return None if keys is None else keys[:, :, -1].clone()
