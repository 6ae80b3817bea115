"""Interface of activations: they decide which latents of a token are active, and with what value.

One activation per file, one YAML in conf/activation. Selection compares `relu(pre) ·
selection_scale`, where the scale is the latents' decoder norm: what a latent contributes does not
depend on the scale of its encoder.

Most activations select pre-activations and keep their values. One that learns thresholds or gates
computes its values itself, so that gradients reach them.
"""

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import Tensor, nn

from crosscoder.core.activations.naming import saved_name
from crosscoder.core.requirements import Requirements
from crosscoder.core.sparse import Index
from crosscoder.core.types import Dense, PerLatent
from crosscoder.distributed import BY_TOKENS, Parallel


class Activation(nn.Module):
    """Base of all activations. State that inference needs is a buffer or a parameter."""

    requirements: ClassVar[Requirements] = Requirements()
    """Statement of the choices that the activation can be combined with."""
    parallel: Parallel = BY_TOKENS
    """Division of a training step among processes; the crosscoder sets it."""

    def selection_scale(self, decoder_norms: Tensor) -> PerLatent:
        """Return the latents' weights in selection, from decoder norms [n_sources, n_latents]."""
        return decoder_norms.sum(0)

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        """Return the active entries of pre-activations [batch, n_latents]; they must be positive.

        The pre-activations there are the values of the code. The result is an index, or a boolean
        mask [batch, n_latents] where a mask is at hand and many entries are active
        (`sparse.index_or_mask`).
        """
        raise NotImplementedError

    def compute_values(self, pre: Dense) -> Dense | None:
        """Return the whole code [batch, n_latents], or None if the activation only selects."""
        return None

    def set_progress(self, progress: float) -> None:
        """Set the fraction of the training run that is over; called before every step."""

    def calibrate(
        self, pre_activations: Iterable[Dense], scale: PerLatent, n_tokens: int = 65_536
    ) -> None:
        """Fit what inference needs, at the end of training; by default there is nothing to fit.

        Args:
            pre_activations: Batches [batch, n_latents] of pre-activations.
            scale: Selection scale.
            n_tokens: Tokens to read at most, rounded up to whole batches.
        """

    def to_inference(self, scale: PerLatent) -> "Activation":
        """Return the activation that inference uses, given the selection scale of training."""
        return copy.deepcopy(self)

    def fold_encoder(self, W_enc: Tensor, b_enc: PerLatent) -> tuple[Tensor, PerLatent]:
        """Return the encoder that goes with `to_inference`."""
        return W_enc, b_enc

    def spec(self) -> dict[str, Any]:
        """Return `{"name": module, **constructor arguments}` as plain JSON, for `from_spec`.

        Raises:
            UserError: The class is outside of the package, in a module of a taken name.
        """
        return {"name": saved_name(type(self)), **self.arguments()}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.arguments().items())

    def arguments(self) -> dict[str, Any]:
        """Return the constructor arguments as JSON scalars."""
        return {}
