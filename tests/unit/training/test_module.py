import copy

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.core.activations.topk import TopK
from crosscoder.core.metrics import Variance
from crosscoder.data import Mixing
from crosscoder.training.module import calibrate_activation


class Watch(Callback):
    """What stands at the end of every step."""

    def __init__(self) -> None:
        self.learning_rates, self.ks, self.losses = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.learning_rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.ks.append(pl_module.crosscoder.activation.k_now)
        self.losses.append(outputs["loss"].item())


def test_the_learning_rate_follows_the_schedule_in_fractions_of_the_run(module_of, trained):
    watch, module = Watch(), module_of(n_steps=10)
    trained(module, watch)
    assert watch.learning_rates == pytest.approx(
        [3e-3 * module.schedule(step / 10) for step in range(10)]
    )


def test_k_is_annealed_over_the_run(module_of, trained):
    watch = Watch()
    trained(module_of(TopK(k=2, start=5, anneal=0.5), n_steps=8), watch)
    assert watch.ks == [10, 8, 6, 4, 2, 2, 2, 2]


def test_the_loss_falls(module_of, trained):
    watch = Watch()
    trained(module_of(n_steps=60), watch)
    assert sum(watch.losses[-5:]) < 0.7 * sum(watch.losses[:5])


def test_raw_activations_are_normalised_before_anything_sees_them(
    module_of, trained, planted_splits
):
    module = module_of(n_steps=3)
    sums = []

    def look(_, args) -> None:
        sums.append(args[0].square().sum(-1).mean().item() / args[0].shape[-1])

    module.crosscoder.register_forward_pre_hook(look)
    trained(module)
    assert sums == pytest.approx([1.0] * 3, rel=0.2)
    assert planted_splits.train.acts(0, ["base"]).square().mean() < 0.5  # not so by themselves


def test_latents_count_as_dead_after_a_fraction_of_the_runs_tokens(module_of, trained):
    module, seen = module_of(n_steps=20, dead_after=0.25), []

    class Dead(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            seen.append(int(pl_module.dead.mask(5 * 128).sum()))

    with torch.no_grad():
        module.crosscoder.b_enc[:6] = -100.0  # these never fire
    trained(module, Dead())
    assert seen[3] == 0
    assert seen[4] >= 6
    assert module.dead.tokens_since_fired[:6].tolist() == [20 * 128] * 6


def test_everything_that_counts_is_in_the_state_dict(module_of):
    keys = set(module_of().state_dict())
    assert "dead.tokens_since_fired" in keys
    assert {
        f"crosscoder.{name}" for name in ("W_enc", "W_dec", "b_enc", "b_dec", "mean", "scale")
    } <= keys
    assert {"crosscoder.frozen_scale", "crosscoder.activation.threshold"} <= keys


def test_the_fitted_threshold_gives_the_l0_that_was_trained(module_of, trained, planted_splits):
    module = module_of(n_steps=40)
    trained(module)
    crosscoder = module.crosscoder.fold()
    raw = planted_splits.train.acts(0, planted_splits.sources.names)
    assert float(crosscoder.encode(raw).l0().mean()) == pytest.approx(3.0, rel=2e-3)
    heldout = planted_splits.heldout.acts(0, planted_splits.sources.names)
    assert float(crosscoder.encode(heldout).l0().mean()) == pytest.approx(3.0, rel=0.1)


def test_with_fewer_positive_scores_than_wanted_all_are_kept(module_of, planted_splits):
    crosscoder = module_of(BatchTopK(48)).crosscoder
    calibrate_activation(
        crosscoder,
        Mixing(planted_splits.train, planted_splits.sources).iter_in_order(500),
        n_tokens=1000,
    )
    assert float(crosscoder.activation.threshold) == 0.0


def test_other_activations_read_no_batch_and_keep_their_weights(module_of, planted_splits):
    crosscoder = module_of(TopK(3)).crosscoder
    before = copy.deepcopy(crosscoder.state_dict())
    batches = list(Mixing(planted_splits.train, planted_splits.sources).iter_in_order(500))
    unread = iter(batches)
    calibrate_activation(crosscoder, unread)
    assert len(list(unread)) == len(batches) > 1
    after = crosscoder.state_dict()
    assert after.keys() == before.keys()
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0, equal_nan=True)


def test_the_curve_of_the_differences_fve_is_of_raw_activations(module_of, trained):
    module = module_of(n_steps=1)
    module.crosscoder.scale[:16] *= 3  # else both sources have nearly one scale
    batches = []
    module.crosscoder.register_forward_hook(
        lambda crosscoder, args, output: batches.append((args[0], output.recon.detach()))
    )
    curve = []

    class Curve(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            curve.append(float(trainer.logged_metrics["train/fve/difference"]))

    trained(module, Curve())
    sources = module.crosscoder.sources
    first, second = sources.comparable
    acts, recon = batches[0]
    scale = module.crosscoder.scale
    raw, raw_recon = sources.split(acts * scale), sources.split(recon * scale)
    variance = Variance()
    variance.update(raw[first] - raw[second], raw_recon[first] - raw_recon[second])
    assert curve == pytest.approx([variance.fve()], abs=1e-5)
