"""The LightningModule: a crosscoder with its loss terms, optimizer and schedule."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins import MixedPrecision, Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from crosscoder.constraints import Constraint, penalties
from crosscoder.core.model import Crosscoder
from crosscoder.core.types import Acts, PerLatent
from crosscoder.errors import UserError
from crosscoder.losses import LossContext, Term, total
from crosscoder.training.clipping import can_clip, clip_norm
from crosscoder.training.dead import DeadLatents
from crosscoder.training.l0_controller import L0Controller
from crosscoder.training.recipe import Recipe
from crosscoder.training.schedules import WarmupDecay
from crosscoder.training.sharding import shard_weights, take_local_rows

log = logging.getLogger(__name__)


class CrosscoderModule(L.LightningModule):
    """Module that trains a crosscoder on batches of raw activations [batch, d_total].

    Args:
        crosscoder: Crosscoder to train. Its `mean` and `scale` normalise raw activations.
        losses: Terms by name. Their weighted sum is the loss (crosscoder/losses).
        optimizer: Function from parameters to an optimizer.
        schedule: Function from progress to a factor on the learning rate.
        n_steps: Optimizer steps of the whole run, the unit of every schedule.
        dead_after: Fraction of the run's tokens after which a silent latent counts as dead.
        constraints: Constraints that are enforced after every step (crosscoder/constraints).
        l0_target: Active latents per token that the sparsity penalties are adapted to. None: the
            penalties are not adapted.
    """

    def __init__(
        self,
        crosscoder: Crosscoder,
        losses: Mapping[str, Term],
        optimizer: Callable[[Iterable[Tensor]], Optimizer],
        schedule: Callable[[float], float] = WarmupDecay(),  # noqa: B008 (frozen)
        n_steps: int = 1000,
        dead_after: float = 0.05,
        constraints: Sequence[Constraint] = (),
        l0_target: float | None = None,
    ) -> None:
        super().__init__()
        self.crosscoder = crosscoder
        self.losses = losses
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.n_steps = n_steps
        self.dead_after = dead_after
        self.dead = DeadLatents(crosscoder.n_latents)
        self.pressure = L0Controller(l0_target, n_steps)  # checkpoints have this name
        self.constraints = tuple(constraints)
        for constraint in self.constraints:
            constraint.begin(crosscoder)
        self.project()

    @classmethod
    def from_recipe(
        cls, recipe: Recipe, crosscoder: Crosscoder, n_steps: int
    ) -> "CrosscoderModule":
        """Return the module that trains a crosscoder by a recipe."""
        return cls(
            crosscoder,
            recipe.losses,
            recipe.optimizer,
            recipe.schedule,
            n_steps=n_steps,
            dead_after=recipe.dead_after,
            constraints=list(recipe.constraints.values()),
            l0_target=recipe.l0_target,
        )

    @property
    def progress(self) -> float:
        """Return the fraction of the run that is done."""
        return min(1.0, self.global_step / self.n_steps)

    def project(self) -> None:
        """Enforce the constraints on the weights."""
        for constraint in self.constraints:
            constraint.project(self.crosscoder)

    def penalty(self) -> PerLatent | None:
        """Return the factors of the sparsity penalties, [n_latents]; None stands for 1."""
        if not self.constraints and self.pressure.target is None:
            return None
        return penalties(self.constraints, self.crosscoder) * self.pressure.weight

    def configure_model(self) -> None:
        if self.crosscoder.parallel.n_latent_shards > 1 and self.device_mesh is not None:
            shard_weights(self.crosscoder, self.device_mesh["tensor_parallel"])

    def training_step(self, batch: Acts, batch_idx: int) -> Tensor:
        crosscoder = take_local_rows(self.crosscoder)
        parallel = crosscoder.parallel
        acts = crosscoder.normalise(parallel.gather_batch(batch).float())
        crosscoder.activation.set_progress(self.progress)
        output = crosscoder(acts)
        self.dead.update(output.code, parallel)
        n_silent = int(self.dead_after * self.n_steps * parallel.count_tokens(len(acts)))
        dead = parallel.local_latents(self.dead.mask(after=n_silent))
        ctx = LossContext(
            acts, output, crosscoder, dead, self.progress, parallel.batch_mean, self.penalty()
        )
        if self.pressure.target is not None:
            self.pressure.update(ctx.mean(output.code.l0()))
        loss, terms = total(self.losses, ctx)
        if not loss.isfinite():
            raise self._describe_nonfinite(ctx)
        if self._is_logging_step():
            self._log(loss, terms, ctx)
        return loss

    def _describe_nonfinite(self, ctx: LossContext) -> UserError:
        """Return the error for a loss that is not finite, with the first place that is not."""
        place = "loss"
        if not ctx.acts.isfinite().all():
            place = "activations"
        elif not all(bool(weight.isfinite().all()) for weight in ctx.crosscoder.parameters()):
            place = "gradients of the step before, and so in the weights,"
        return UserError(
            f"NaN or infinity in the {place} at step {self.global_step}; last.ckpt is from before"
        )

    @torch.no_grad()
    def _log(self, loss: Tensor, terms: Mapping[str, Tensor], ctx: LossContext) -> None:
        values = {"loss": loss}
        for name, term in terms.items():
            values[f"loss/{name}"] = term
        sources = ctx.crosscoder.sources
        error = ctx.acts - ctx.output.recon
        xs = sources.split(ctx.acts)
        errors = sources.split(error)
        for name, x in xs.items():
            values[f"train/fve/{name}"] = _compute_fve(x, errors[name], ctx)
        if sources.comparable:
            first, second = sources.comparable
            scales = sources.split(ctx.crosscoder.scale)  # the difference is one of raw activations
            difference = xs[first] * scales[first] - xs[second] * scales[second]
            of_error = errors[first] * scales[first] - errors[second] * scales[second]
            values["train/fve/difference"] = _compute_fve(difference, of_error, ctx)
        values["train/l0"] = ctx.mean(ctx.parallel.all_reduce_sum(ctx.output.code.l0()))
        n_shards = ctx.parallel.n_latent_shards
        dead_fraction = ctx.parallel.all_reduce_sum(ctx.dead.float().mean()) / n_shards
        values["train/dead_fraction"] = dead_fraction
        self.log_dict({name: value.detach() for name, value in values.items()})

    def _is_logging_step(self) -> bool:
        return self.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    def on_train_epoch_end(self) -> None:
        """End training if the batches end, which happens only if the data are not repeated."""
        if self.global_step < self.n_steps and not self.trainer.should_stop:
            log.warning(
                "the training data end after step %d of %d, so training ends here",
                self.global_step,
                self.n_steps,
            )
            self.trainer.should_stop = True

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.project()
        # Lightning does this after the next forward pass, which can use that memory
        optimizer.zero_grad()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        precision = self.trainer.precision_plugin
        is_by_norm = gradient_clip_algorithm in (None, GradClipAlgorithmType.NORM)
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        if gradient_clip_val and is_by_norm and can_clip(gradients):
            clip_norm(gradients, gradient_clip_val)
        elif isinstance(precision, MixedPrecision) and precision.scaler is None:
            # In mixed precision Lightning refuses to clip for a fused optimizer, as if gradients
            # were scaled. Those of bfloat16 are not.
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
            Precision.clip_gradients(precision, optimizer, gradient_clip_val or 0.0, algorithm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.crosscoder.parameters())
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(min(1.0, step / self.n_steps)))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def _compute_fve(x: Tensor, error: Tensor, ctx: LossContext) -> Tensor:
    """Return the fraction of the variance of a batch [batch, d] that is explained."""
    variance = ctx.mean((x - ctx.mean(x, 0)).square().sum(-1))
    variance = variance.where(variance > 0, torch.nan)  # 0 for a batch of one token
    return 1 - ctx.mean(error.square().sum(-1)) / variance


@torch.no_grad()
def calibrate_activation(
    crosscoder: Crosscoder, batches: Iterable[Acts], n_tokens: int = 65_536
) -> None:
    """Let the activation fit what inference needs, on batches of raw activations.

    BatchTopK sets its threshold; see `Activation.calibrate`.
    """
    crosscoder = take_local_rows(crosscoder).eval()
    scale = crosscoder.selection_scale
    crosscoder.activation.calibrate(_pre_activations(crosscoder, batches), scale, n_tokens)


def _pre_activations(crosscoder: Crosscoder, batches: Iterable[Acts]) -> Iterator[Tensor]:
    """Yield pre-activations [batch, n_latents] of batches of raw activations."""
    for batch in batches:
        acts = crosscoder.normalise(batch.float().to(crosscoder.W_enc.device))
        yield acts @ crosscoder.W_enc.T + crosscoder.b_enc
