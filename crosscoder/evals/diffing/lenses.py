"""Tokens that directions promote in the finetuned model, by the logit lens and the Jacobian lens.

The lenses are those of the table of latents (analysis/columns/lens.py), with the same tokens that
may be named.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor

from crosscoder.analysis.columns.lens import LATENTS_PER_CHUNK, RESIDUAL_SITES, compute_logits
from crosscoder.core.types import Decoder
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import NotApplicable
from crosscoder.evals.diffing.material import Material
from crosscoder.lm import Hookpoint
from crosscoder.lm.jacobian import Jacobian
from crosscoder.lm.jacobian_cache import load_jacobian
from crosscoder.lm.lens_contexts import draw_contexts
from crosscoder.lm.loading.checks import require_lens

N_PROMOTED = 20
LOGIT = "logit"
JACOBIAN = "Jacobian"


@dataclass(frozen=True)
class Lenses:
    """The lenses of the finetuned model at the hookpoint.

    Args:
        material: The models, and the tokens that may be named.
        jacobians: The mean Jacobian by name of the lens; None is the logit lens.
    """

    material: Material
    jacobians: dict[str, Jacobian | None] = field(default_factory=lambda: {LOGIT: None})

    @classmethod
    def load(cls, material: Material, jacobian_contexts: int) -> "Lenses":
        """Make the lenses.

        Args:
            material: The models, and the tokens that may be named.
            jacobian_contexts: Held-out contexts over which the Jacobian lens is averaged; 0: there
                is no Jacobian lens.

        Raises:
            NotApplicable: The hookpoint is not in the residual stream, or the model has no lens.
        """
        first, _ = material.diff_pair
        source = material.context.crosscoder.sources[first]
        if source.hookpoint.partition(".")[0] not in RESIDUAL_SITES:
            raise NotApplicable(f"a lens cannot read {source.hookpoint}: it is no residual stream")
        require_lens(material.pair[source.lm])
        jacobians: dict[str, Jacobian | None] = {LOGIT: None}
        if jacobian_contexts:
            tokens = TokenSet.from_store(material.context.heldout).tokens
            contexts = draw_contexts(tokens, jacobian_contexts)
            hookpoint = Hookpoint.parse(source.hookpoint)
            jacobians[JACOBIAN] = load_jacobian(material.pair, source.lm, hookpoint, contexts)
        return cls(material, jacobians)

    @torch.no_grad()
    def promote(self, directions: Decoder) -> dict[str, Int[Tensor, "n_latents promoted"]]:
        """Return the ids of the first N_PROMOTED tokens of each direction, by lens."""
        lm, _ = self.material.lms
        model = self.material.pair[lm]
        named = self.material.named_ids
        ids = None if named is None else named.nonzero()[:, 0]
        promoted = {}
        for lens, jacobian in self.jacobians.items():
            parts = []
            for chunk in directions.split(LATENTS_PER_CHUNK):
                logits = compute_logits(model, chunk, jacobian, ids)
                parts.append(logits.topk(min(N_PROMOTED, logits.shape[1]), dim=-1).indices.cpu())
            top = torch.cat(parts)
            promoted[lens] = top if ids is None else ids[top]
        return promoted

    def write(self, ids: Sequence[int], n: int = 10) -> str:
        """Return the first `n` tokens as text."""
        return " ".join(self.material.pair.name_tokens(list(ids)[:n])).replace("\n", "⏎")
