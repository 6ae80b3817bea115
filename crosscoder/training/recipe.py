"""The recipe of a crosscoder: everything about its training except the activations.

Importing this module does not import lightning, so that settings are refused quickly.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from crosscoder import distributed
from crosscoder.constraints import Constraint
from crosscoder.core.activations import Activation
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.data import Mixing, Scale, Store, Stream
from crosscoder.data.exclude import EXCLUDE, OUTLIER
from crosscoder.data.outliers import warn_of_outliers
from crosscoder.distributed import Parallel
from crosscoder.errors import UserError
from crosscoder.io.identity import Identity
from crosscoder.losses import Term
from crosscoder.training.compatibility import check_compatibility
from crosscoder.training.defaults import (
    default_activation,
    default_init,
    default_losses,
    default_optimizer,
    default_schedule,
    make_trainer,
)
from crosscoder.training.settings import (
    check_exclude,
    check_l0_target,
    check_optimizer,
    check_schedule,
    check_sizes,
    require_seed,
)
from crosscoder.values import require_choice, require_fraction


@dataclass(frozen=True)
class Recipe:
    """Recipe that trains a folded crosscoder from stores. Every training uses it.

    The defaults are those of conf/train.yaml.

    Args:
        n_latents: Size of the dictionary.
        train_tokens: Tokens of the training over all epochs.
        batch_size: Tokens per step.
        activation: Activation of the code.
        init: Initialiser of the weights.
        scale: Normalisation of the activations.
        losses: Loss terms by name.
        optimizer: Function from parameters to an optimizer.
        schedule: Function from progress to a factor on the learning rate.
        trainer: Function that makes a Lightning trainer. None: the settings are only checked.
        dead_after: Fraction of the run after which a silent latent counts as dead.
        exclude: Kinds of tokens that are left out.
        constraints: Constraints by name.
        l0_target: Active latents per token that the sparsity penalties are adapted to.
        parallel: Axis that several processes divide: the tokens of a batch, or the latents of a
            dictionary too large for one device.
        seed: Random seed of the weights and of the order of the tokens.
    """

    n_latents: int = 4096
    train_tokens: int = 3_000_000
    batch_size: int = 1024
    activation: Activation = field(default_factory=default_activation)
    init: Callable = field(default_factory=default_init)
    scale: Scale = Scale()  # noqa: RUF009 (frozen)
    losses: Mapping[str, Term] = field(default_factory=default_losses)
    optimizer: Callable = field(default_factory=default_optimizer)
    schedule: Callable[[float], float] = field(default_factory=default_schedule)
    trainer: Callable | None = make_trainer
    dead_after: float = 0.05
    exclude: Sequence[str] = EXCLUDE
    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    l0_target: float | None = None
    parallel: Literal["tokens", "latents"] = "tokens"
    seed: int = 0

    def __post_init__(self) -> None:
        check_sizes(self.n_latents, self.train_tokens, self.batch_size, self.activation)
        require_fraction("dead_after", self.dead_after, above=0)
        require_choice("parallel", self.parallel, ("tokens", "latents"))
        require_seed(self.seed)
        check_l0_target(self.l0_target, self.n_latents)
        check_exclude(self.exclude)
        check_compatibility(
            self.activation, self.losses, self.constraints, self.l0_target, self.parallel
        )
        check_optimizer(self.optimizer)
        check_schedule(self.schedule)

    def train(
        self,
        train: Store,
        validation: Store,
        sources: Sources,
        folder: str | Path,
        logger: Any = False,
        resume: bool = False,
        stream: Stream | None = None,
        identity: Identity | None = None,
    ) -> tuple[Crosscoder, dict[str, float]]:
        """Train a crosscoder.

        Args:
            train: Store to train on. For a stream, it holds the first tokens.
            validation: Store on which the inference threshold is fitted.
            sources: Sources of the crosscoder.
            folder: Folder of the curves and of `checkpoints/`.
            logger: Lightning's logger, or False.
            resume: Whether to resume from the last good checkpoint.
            stream: Stream to train on instead of the store.
            identity: Identity of the run, stored in its checkpoints.

        Returns:
            The folded crosscoder, and `n_latents`, `n_tokens` and the figures of `fit`. With
            several processes, only the first one's crosscoder can be used.
        """
        from lightning import seed_everything

        from crosscoder.training.datamodule import ActsModule
        from crosscoder.training.fitting import fit
        from crosscoder.training.module import CrosscoderModule

        seed_everything(self.seed, verbose=False)
        crosscoder = Crosscoder(
            sources, self.n_latents, copy.deepcopy(self.activation), self.init, self.seed
        )
        crosscoder.set_parallel(Parallel(self.parallel))
        crosscoder.set_units(*self.scale.fit(train, sources, self.exclude))
        limits = self._find_norm_limits(train, sources)
        if stream:
            supply = replace(stream, exclude=self.exclude, limits=limits)
        else:
            supply = Mixing(train, sources, self.exclude)
        if distributed.rank() == 0:
            warn_of_outliers(train, sources, self.exclude)
        n_steps = self.train_tokens // self.batch_size
        module = CrosscoderModule.from_recipe(self, crosscoder, n_steps)
        heldout = Mixing(validation, sources, self.exclude)
        batches = ActsModule(supply, self.batch_size, self.seed, heldout)
        checkpoints = Path(folder) / "checkpoints"
        make_trainer = self.require_trainer()
        figures = fit(module, batches, make_trainer, logger, checkpoints, resume, identity)
        folded = crosscoder.fold() if distributed.rank() == 0 else crosscoder
        # the activation of training: folding turns BatchTopK into a JumpReLU
        folded.provenance = {
            "activation": self.activation.spec(),
            "exclude": list(self.exclude),
            "outliers": {"above": OUTLIER, "norms": limits} if limits else None,
        }
        return folded, {"n_latents": self.n_latents, "n_tokens": len(supply), **figures}

    def _find_norm_limits(self, train: Store, sources: Sources) -> dict[str, float]:
        """Return for each source that is read the norm above which a token is an outlier.

        There are no limits if outliers are not left out.
        """
        if "outlier" not in self.exclude:
            return {}
        read = train.sources.required_sources(sources.names)
        return {source.name: OUTLIER * train.median_norm(source.name) for source in read}

    def require_trainer(self) -> Callable:
        """Return the function that makes a trainer.

        Raises:
            UserError: The recipe has none.
        """
        if self.trainer is None:
            raise UserError("this recipe has no trainer: give one (conf/trainer)")
        return self.trainer

    def rehearse(self, sources: Sources) -> None:
        """Refuse settings that would fail in training, before harvesting (rehearsal.py)."""
        from crosscoder.training.rehearsal import rehearse

        rehearse(self, sources)

    def key(self) -> str:
        """Return a text that identifies the recipe."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return repr(fields | {"activation": self.activation.spec(), "trainer": None})

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with other settings."""
        return replace(self, **changes)

    def raise_l0(self, n: float) -> "Recipe":
        """Return a copy whose codes have about `n` more active latents per token.

        Only what has a k or a target L0 is changed. A penalty of fixed weight needs no change: it
        has more active latents where more features are active.
        """
        activation = copy.deepcopy(self.activation)
        if isinstance(activation, TopK):
            activation.k += round(n)
        target = None if self.l0_target is None else self.l0_target + n
        return self.replace(activation=activation, l0_target=target)
