"""Twenty steps of the real training against a dense BatchTopK crosscoder in plain PyTorch."""

from itertools import islice

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.model import Crosscoder
from crosscoder.data import Mixing, Scale, Splits
from crosscoder.losses.auxk import AuxK
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import ActsModule, CrosscoderModule, fit
from crosscoder.training.schedules import WarmupDecay

WIDTH, N_LATENTS, K, BATCH, STEPS, LR = 16, 192, 1, 256, 20, 5e-3
DEAD_AFTER, K_AUX, AUX_WEIGHT = 0.15, 8, 0.25  # a weight at which the auxiliary loss is felt


def dense_training(weights: list[Tensor], batches: list[Tensor]) -> list[float]:
    """Train W_enc, W_dec, b_enc, b_dec in place on batches in training units; return the losses."""
    W_enc, W_dec, b_enc, b_dec = weights
    adam = torch.optim.Adam(weights, lr=LR)
    silent = torch.zeros(N_LATENTS)  # tokens since each latent fired
    losses = []
    for step, x in enumerate(batches):
        pre = x @ W_enc.T + b_enc
        norms = W_dec[:, :WIDTH].norm(dim=1) + W_dec[:, WIDTH:].norm(dim=1)
        v = (pre.relu() * norms).detach()
        best = v.flatten().sort(descending=True, stable=True).indices[: K * len(x)]
        active = torch.zeros(v.numel(), dtype=torch.bool).index_fill(0, best, True).view_as(v) & (
            v > 0
        )
        error = x - (torch.where(active, pre, 0.0) @ W_dec + b_dec)
        loss = error.square().mean()

        silent = torch.where(active.any(0), 0, silent + len(x))
        dead = silent >= DEAD_AFTER * STEPS * len(x)
        if dead.any():
            k_aux = min(K_AUX, int(dead.sum()))
            ranked = torch.where(dead, v, -1.0).topk(k_aux, dim=1).indices
            revived = torch.zeros_like(v).scatter(1, ranked, 1.0) * pre.relu() @ W_dec
            left = error.detach()
            spread = (left - left.mean(0)).square().sum(1).mean()
            loss = loss + AUX_WEIGHT * (left - revived).square().sum(1).mean() / spread

        rise, fall = min(1.0, step / STEPS / 0.1), min(1.0, (1 - step / STEPS) / 0.2)
        adam.param_groups[0]["lr"] = LR * rise * fall
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        losses.append(loss.item())
    return losses


class Recorder(Callback):
    """The loss of every step, and how many latents were dead."""

    def __init__(self) -> None:
        self.losses, self.dead = [], 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(outputs["loss"].item())
        self.dead = max(self.dead, int(pl_module.dead.mask(int(DEAD_AFTER * STEPS * BATCH)).sum()))


def real_training(crosscoder: Crosscoder, mixing: Mixing, folder) -> Recorder:
    recorder = Recorder()

    def trainer(callbacks: list[Callback], **options) -> L.Trainer:
        switches = dict.fromkeys(
            ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        return L.Trainer(
            accelerator="cpu",
            gradient_clip_val=1.0,
            callbacks=[*callbacks, recorder],
            **switches,
            **options,
        )

    losses = {"reconstruction": Reconstruction("normalised"), "auxk": AuxK(AUX_WEIGHT)}
    module = CrosscoderModule(
        crosscoder,
        losses,
        lambda weights: torch.optim.Adam(weights, lr=LR),
        WarmupDecay(warmup=0.1, decay=0.2),
        n_steps=STEPS,
        dead_after=DEAD_AFTER,
    )
    fit(module, ActsModule(mixing, BATCH, seed=5), trainer, False, folder / "checkpoints")
    return recorder


def test_training_is_the_plain_dense_training(planted_splits: Splits, tmp_path):
    sources, mixing = planted_splits.sources, Mixing(planted_splits.train, planted_splits.sources)
    crosscoder = Crosscoder(sources, N_LATENTS, BatchTopK(K), seed=3, gemm_dtype="float32")
    crosscoder.set_units(*Scale().fit(planted_splits.train, sources))
    initial = (crosscoder.W_enc, crosscoder.W_dec, crosscoder.b_enc, crosscoder.b_dec)
    weights = [weight.detach().clone().requires_grad_() for weight in initial]

    # the same batches, brought to training units here: mean subtracted, one factor per source so
    # that E‖x‖² = d
    raw = planted_splits.train.acts(0, sources.names).double()
    mean = raw.mean(0)
    rms = [
        (raw - mean)[:, part].square().mean().sqrt()
        for part in (slice(0, WIDTH), slice(WIDTH, None))
    ]
    factor = torch.stack(rms).repeat_interleave(WIDTH)
    batches = list(islice(mixing.iter_batches(BATCH, seed=5), STEPS))

    reference = dense_training(weights, [((batch - mean) / factor).float() for batch in batches])
    recorder = real_training(crosscoder, mixing, tmp_path)

    assert recorder.dead > K_AUX  # else the auxiliary loss was not tried in full
    assert recorder.losses == pytest.approx(reference, rel=1e-4)
    assert reference[-1] < 0.7 * reference[0]
    for ours, theirs in zip(initial, weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
