"""The one LightningModule: a crosscoder, its loss terms, its optimizer and schedule."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from crosscoder import processes
from crosscoder.activations.batch_topk import BatchTopK
from crosscoder.constraints import Constraint, penalties
from crosscoder.errors import UserError
from crosscoder.losses import LossInput, Term, total
from crosscoder.model import Crosscoder
from crosscoder.training.dead import DeadLatents
from crosscoder.training.pressure import Pressure
from crosscoder.training.schedules import WarmupDecay
from crosscoder.training.sharding import own_rows, shard
from crosscoder.types import Acts, PerLatent


class CrosscoderModule(L.LightningModule):
    """Trains a crosscoder on batches of raw activations [batch, d_total].

    Args:
        crosscoder: what is trained; its `mean` and `scale` say how raw activations are normalised.
        losses: terms by name; their weighted sum is the loss (crosscoder/losses).
        optimizer: parameters → optimizer.
        schedule: progress → factor on the learning rate.
        n_steps: optimizer steps of the whole run: the unit of every schedule.
        dead_after: fraction of the run's tokens after which a silent latent counts as dead.
        constraints: kept to after every step (crosscoder/constraints).
        l0_target: active latents per token that penalties are brought to; None: they are as they are.
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
        self.crosscoder, self.losses, self.optimizer_of, self.schedule = crosscoder, losses, optimizer, schedule
        self.n_steps, self.dead_after = n_steps, dead_after
        self.dead = DeadLatents(crosscoder.n_latents)
        self.pressure = Pressure(l0_target, n_steps)
        self.constraints = tuple(constraints)
        for constraint in self.constraints:
            constraint.begin(crosscoder)
        self.project()

    @property
    def progress(self) -> float:
        """Fraction of the run that is over."""
        return min(1.0, self.global_step / self.n_steps)

    def project(self) -> None:
        """Put the weights where the constraints want them."""
        for constraint in self.constraints:
            constraint.project(self.crosscoder)

    def penalty(self) -> PerLatent | None:
        """By what sparsity penalties are multiplied, [n_latents]; None: 1."""
        if not self.constraints and self.pressure.target is None:
            return None
        return penalties(self.constraints, self.crosscoder) * self.pressure.weight

    def configure_model(self) -> None:
        if processes.of_latents()[1] > 1 and self.device_mesh is not None:
            shard(self.crosscoder, self.device_mesh["tensor_parallel"])

    def training_step(self, batch: Acts, batch_idx: int) -> Tensor:
        crosscoder = own_rows(self.crosscoder)
        acts = crosscoder.normalise(processes.whole_batch(batch).float())
        crosscoder.activation.at(self.progress)
        output = crosscoder(acts)
        self.dead.update(output.code)
        dead = self.dead.mask(after=int(self.dead_after * self.n_steps * processes.n_tokens(len(acts))))
        dead = processes.own_latents(dead)
        given = LossInput(acts, output, crosscoder, dead, self.progress, processes.mean, self.penalty())
        if self.pressure.target is not None:
            self.pressure.update(given.mean(output.code.l0()))
        loss, parts = total(self.losses, given)
        if not loss.isfinite():
            what = "loss"
            if not acts.isfinite().all():
                what = "activations"
            elif not all(bool(weight.isfinite().all()) for weight in crosscoder.parameters()):
                what = "gradients of the step before, and so in the weights,"
            raise UserError(f"NaN or infinity in the {what} at step {self.global_step}; last.ckpt is from before")
        if self._logs_now():
            self._log(loss, parts, given)
        return loss

    @torch.no_grad()
    def _log(self, loss: Tensor, parts: Mapping[str, Tensor], given: LossInput) -> None:
        error = given.acts - given.output.recon
        values = {"loss": loss} | {f"loss/{name}": part for name, part in parts.items()}
        for name, x in given.crosscoder.sources.split(given.acts).items():
            part = error[:, given.crosscoder.sources.slice(name)]
            variance = given.mean((x - given.mean(x, 0)).square().sum(-1))
            values[f"train/fve/{name}"] = 1 - given.mean(part.square().sum(-1)) / variance
        values["train/l0"] = given.mean(processes.summed(given.output.code.l0()))
        values["train/dead_fraction"] = processes.summed(given.dead.float().mean()) / processes.of_latents()[1]
        self.log_dict({name: value.detach() for name, value in values.items()})

    def _logs_now(self) -> bool:
        return self.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.project()
        optimizer.zero_grad()  # Lightning waits for the next forward pass, which can use that memory

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer_of(self.crosscoder.parameters())
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(min(1.0, step / self.n_steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@torch.no_grad()
def fit_threshold(crosscoder: Crosscoder, batches: Iterable[Acts], n_tokens: int = 65_536) -> None:
    """Set BatchTopK's inference threshold so that the mean L0 is k on these raw activations; of others, nothing to do.

    The threshold is the (k · n)-th largest score over all n tokens: what selection would do on one huge batch.
    """
    activation = crosscoder.activation
    if not isinstance(activation, BatchTopK):
        return
    crosscoder = own_rows(crosscoder).eval()
    n, offered = 0, []
    for batch in batches:
        acts = crosscoder.normalise(batch.float().to(crosscoder.W_enc.device))
        pre = acts @ crosscoder.W_enc.T + crosscoder.b_enc
        v = pre.relu() * crosscoder.selection_scale
        offered.append(v.topk(min(4 * activation.k, v.shape[1]), dim=1).values.flatten().cpu())
        n += len(acts)
        if n >= n_tokens:
            break
    scores = torch.cat(processes.gathered(torch.cat(offered)) if processes.of_latents()[1] > 1 else offered)
    rank = len(scores) - activation.k * n
    activation.threshold.fill_(scores.kthvalue(max(rank, 1)).values.item())
