"""How a crosscoder is trained, as one object: from stores to a folded crosscoder. Every training goes through it."""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from lightning import seed_everything

from crosscoder import processes
from crosscoder.activations import Activation
from crosscoder.constraints import Constraint
from crosscoder.data import Mixing, Scale, Store, Stream
from crosscoder.errors import UserError
from crosscoder.losses import Term
from crosscoder.model import Crosscoder
from crosscoder.sources import Sources
from crosscoder.training.datamodule import ActsModule
from crosscoder.training.fit import fit
from crosscoder.training.module import CrosscoderModule
from crosscoder.training.sense import check

# settings of train.py that make a recipe; all others say what it is trained on, and where
SETTINGS = (
    *(
        "n_latents",
        "k",
        "train_tokens",
        "batch_size",
        "lr",
        "dead_after",
        "exclude",
        "seed",
        "init",
        "schedule",
        "scale",
    ),
    *("l0_target", "activation", "loss", "constraint", "optimizer", "trainer", "experiment", "debug"),
)
PLAIN = re.compile(r"[a-z]\w*(\.[a-z0-9]\w*)*=[\w.,\[\]-]*", re.ASCII)  # Hydra's own keys begin with _


def settings_of(provenance: Mapping[str, Any]) -> list[str]:
    """The settings, as train.py takes them, by which a saved crosscoder's recipe differs from the default.

    A crosscoder can come from anywhere: only plain values and names of YAML files pass, nothing that names a class.
    """
    given = provenance.get("settings") or []
    if not isinstance(given, list) or not all(isinstance(setting, str) for setting in given):
        raise UserError("the crosscoder says it was trained with settings that are no list of them")
    settings = [s for s in given if s.lstrip("+~").partition("=")[0].split(".")[0] in SETTINGS]
    for setting in settings:
        if not PLAIN.fullmatch(setting):
            raise UserError(f"the crosscoder says it was trained with '{setting}', which is not a plain setting")
    return settings


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a crosscoder but the activations it is trained on.

    Args:
        n_latents: size of the dictionary.
        train_tokens: trained on, over all epochs.
        batch_size: tokens.
        activation, init, scale, losses, optimizer, schedule, trainer: see conf/train.yaml.
        dead_after: fraction of the run after which a silent latent counts as dead.
        exclude: kinds of tokens that are left out.
        constraints: by name.
        l0_target: active latents per token that penalties are brought to.
        share: what several processes share out: a batch's tokens, or the latents of a dictionary too large for one device.
        seed: of the weights and of the order of the tokens.
    """

    n_latents: int
    train_tokens: int
    batch_size: int
    activation: Activation
    init: Callable
    scale: Scale
    losses: Mapping[str, Term]
    optimizer: Callable
    schedule: Callable[[float], float]
    trainer: Callable
    dead_after: float = 0.05
    exclude: Sequence[str] = ("special",)
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    l0_target: float | None = None
    share: Literal["tokens", "latents"] = "tokens"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.activation, self.losses, self.constraints, self.l0_target, self.share)

    def __call__(
        self,
        train: Store,
        validation: Store,
        sources: Sources,
        folder: Path,
        logger: Any = False,
        resume: bool = False,
        stream: Stream | None = None,
    ) -> tuple[Crosscoder, dict[str, float]]:
        """Train on a store, or on a stream of which `train` holds the first tokens.

        Checkpoints and curves are written in `folder`, and with `resume` found there.

        Returns:
            The folded crosscoder, and `n_latents`, `n_tokens` and what `fit` gives. Of several processes the first has them;
            the others' crosscoder is of no use.
        """
        seed_everything(self.seed, verbose=False)
        crosscoder = Crosscoder(sources, self.n_latents, copy.deepcopy(self.activation), self.init, self.seed)
        crosscoder.set_units(*self.scale.fit(train, sources))
        supply = replace(stream, exclude=self.exclude) if stream else Mixing(train, sources, self.exclude)
        with processes.sharing(self.share):
            figures = fit(
                CrosscoderModule(
                    crosscoder,
                    self.losses,
                    self.optimizer,
                    self.schedule,
                    n_steps=max(1, self.train_tokens // self.batch_size),
                    dead_after=self.dead_after,
                    constraints=list(self.constraints.values()),
                    l0_target=self.l0_target,
                ),
                ActsModule(supply, self.batch_size, self.seed, Mixing(validation, sources, self.exclude)),
                self.trainer,
                logger,
                folder / "checkpoints",
                resume,
            )
        folded = crosscoder.fold() if processes.rank() == 0 else crosscoder
        folded.provenance = {"activation": self.activation.spec()}  # of training; folding makes a JumpReLU of BatchTopK
        return folded, {"n_latents": self.n_latents, "n_tokens": len(supply), **figures}

    def key(self) -> str:
        """Text that differs between recipes that differ."""
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return repr(parts | {"activation": self.activation.spec(), "trainer": None})

    def but(self, **changes: Any) -> "Recipe":
        """The same with other settings."""
        return replace(self, **changes)
