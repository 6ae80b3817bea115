"""Partner models: they are only read while another model is edited, on the same tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import Tensor

from crosscoder.core.sources import Source
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.lm.types import Cache, PreTrainedModel

are_edits_disabled: ContextVar[bool] = ContextVar("are_edits_disabled", default=False)
"""True during a pass that must be clean: edits then leave activations unchanged."""


@contextmanager
def disable_edits() -> Iterator[None]:
    """Context in which no edit changes activations."""
    token = are_edits_disabled.set(True)
    try:
        yield
    finally:
        are_edits_disabled.reset(token)


@dataclass(frozen=True)
class Partner:
    """Model that is read on the tokens of the edited model; it may be the edited model itself.

    Args:
        model: The model.
        sources: Its sources that are read.
    """

    model: PreTrainedModel
    sources: tuple[Source, ...]

    @property
    def hookpoints(self) -> dict[str, Hookpoint]:
        """Hookpoints by source."""
        return {source.name: Hookpoint.parse(source.hookpoint) for source in self.sources}

    def read(
        self, ids: Tensor, positions: Tensor | None, mask: Tensor | None, cache: Cache | None
    ) -> dict[str, Tensor]:
        """Return the sources' clean activations of these tokens, each [batch, new, d_source]."""
        if cache is not None and all(cache.is_linear) and ids.shape[1] == 1:
            mask = None  # it marks padding, and a single new token is not padding
        hookpoints = self.hookpoints
        distinct = list(dict.fromkeys(hookpoints.values()))
        with disable_edits():
            found = read(self.model, distinct, ids, positions, mask, cache)
        return {name: found[hookpoint] for name, hookpoint in hookpoints.items()}
