"""What an activation is: it decides which latents of a token are active, and with what value.

One activation per file, one YAML in conf/activation. Selection compares `relu(pre) · selection_scale`, where the scale
is the latents' decoder norm: what a latent contributes, not how its encoder happens to be scaled.

Most decide which pre-activations stay, and those stay as they are. One that learns thresholds or gates computes its values
itself, so that gradients reach them.
"""

import copy
import importlib
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from crosscoder.errors import UserError
from crosscoder.sparse import Index
from crosscoder.types import Dense, PerLatent


class Activation(nn.Module):
    """Base of all activations. State that inference needs is a buffer or a parameter."""

    sparse: ClassVar[bool] = True
    """Whether it is sparse without a penalty."""
    shares_latents: ClassVar[bool] = False
    """Whether it can be trained where each process has some of the latents."""
    learns: ClassVar[str] = ""
    """What it learns that loss terms may ask for: "thresholds", "gates"."""

    def weigh(self, norms: Tensor) -> PerLatent:
        """By what latents are weighed where they are compared, from their decoder norms [n_sources, n_latents]."""
        return norms.sum(0)

    def select(self, pre: Dense, scale: PerLatent) -> Index | Tensor:
        """The active entries of pre-activations [batch, n_latents], whose values they are; each must be positive.

        As an index, or, where it has that anyway and many are active, as a boolean mask (`sparse.index_or_mask`).
        """
        raise NotImplementedError

    def values(self, pre: Dense) -> Dense | None:
        """The code itself, [batch, n_latents], of an activation that does more than select."""
        return None

    def at(self, progress: float) -> None:
        """Told the fraction of the training run that is over, before every step."""

    def frozen(self, scale: PerLatent) -> "Activation":
        """The activation that inference uses, `scale` being the selection scale it was trained with."""
        return copy.deepcopy(self)

    def encoder(self, W_enc: Tensor, b_enc: PerLatent) -> tuple[Tensor, PerLatent]:
        """The encoder that goes with `frozen`."""
        return W_enc, b_enc

    def spec(self) -> dict[str, Any]:
        """`{"name": module, **constructor arguments}` as plain JSON, read back by `from_spec`."""
        return {"name": type(self).__module__.rpartition(".")[2], **self.arguments()}

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments as JSON scalars."""
        return {}


def from_spec(spec: dict[str, Any]) -> Activation:
    """Build the activation a saved crosscoder names. Only classes in this folder, only scalars as arguments."""
    arguments = dict(spec)
    name = arguments.pop("name", None)
    known = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py") if path.stem != "base")
    if name not in known:
        raise UserError(f"unknown activation {name!r}; there is {', '.join(known)}")
    if bad := [key for key, value in arguments.items() if not isinstance(value, str | int | float | bool | None)]:
        raise UserError(f"activation '{name}' takes scalars only, not {', '.join(bad)}")
    module = importlib.import_module(f"crosscoder.activations.{name}")
    here = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    (cls,) = (value for value in here if isinstance(value, type) and issubclass(value, Activation))
    try:
        return cls(**arguments)
    except TypeError as error:
        raise UserError(f"activation '{name}': {error}") from error
