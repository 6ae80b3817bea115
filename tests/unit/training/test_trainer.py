"""Settings that would fail in training, or train something else, are refused quickly."""

import json

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.core.activations.topk import TopK
from crosscoder.core.requirements import Requirements
from crosscoder.errors import UserError
from crosscoder.training import CrosscoderModule, fit
from crosscoder.training.rehearsal import rehearse
from crosscoder.training.trainer import build_trainer
from tests.helpers.configs import composed
from tests.helpers.small import sources_of

SOURCES = sources_of(640, 640)


def recipe_of(*settings: str):
    return instantiate(composed("n_latents=96", "k=4", *settings).recipe, _convert_="all")


def built(tmp_path, *settings: str):
    return build_trainer(instantiate(composed(*settings).trainer), 10, tmp_path, logger=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.devices=2", "torchrun --nproc-per-node 2"),
        ("trainer.devices=0", "cannot be built"),
        ("trainer.devices=abc", "cannot be built"),
        ("+trainer.num_nodes=2", "ask for 2 devices"),
        ("+trainer.strategy=nonsense", "invalid strategy name"),
        ("+trainer.strategy=ddp", "leave it at auto"),
        ("+trainer.strategy=ddp_spawn", "leave it at auto"),
        ("trainer.accelerator=tpu", "cannot be built"),
        ("trainer.accelerator=nonsense", "invalid accelerator name"),
        ("trainer.precision=nonsense", "cannot be built"),
        ("trainer.precision=bf16-true", "not supported"),
        ("trainer.gradient_clip_val=nan", "gradient_clip_val is a number"),
        ("trainer.gradient_clip_val=-1", "gradient_clip_val is a number"),
        ("trainer.log_every_n_steps=0", "log_every_n_steps is a whole"),
        ("+trainer.accumulate_grad_batches=2", "accumulate_grad_batches is 1"),
        ("+trainer.fast_dev_run=true", "cut the run short"),
        ("+trainer.limit_train_batches=3", "cut the run short"),
        ("+trainer.max_epochs=1", "cut the run short"),
        ("+trainer.nonsense=1", "nonsense"),
    ],
)
def test_a_trainer_that_cannot_be_had_is_refused(setting, message, tmp_path):
    with pytest.raises(UserError, match=message):
        built(tmp_path, setting)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
@pytest.mark.parametrize(
    "setting", ["trainer.accelerator=cuda", "trainer.accelerator=gpu", "trainer.precision=16-mixed"]
)
def test_what_a_cpu_has_not_is_refused(setting, tmp_path):
    with pytest.raises(UserError, match=r"cannot be built|needs a GPU"):
        built(tmp_path, setting)


@pytest.mark.parametrize("more", [{}, {"SLURM_NTASKS_PER_NODE": "4", "SLURM_PROCID": "0"}])
def test_one_process_where_slurm_made_room_for_several_is_refused(tmp_path, monkeypatch, more):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", **more}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"SLURM gave this job 4 tasks .*srun"):
        built(tmp_path)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    built(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["constraint=[tied]", "n_latents=97"], "not a multiple of 3"),
        (["constraint=[decoupled]", "n_latents=97"], "not a multiple of 2"),
        (
            ["+loss.reconstruction.by_source.chatt=2.0"],
            r"names unknown sources chatt; expected some of \[base, chat\] of width 640, 640",
        ),
        (["trainer.devices=2"], "ask for 2 devices"),
    ],
)
def test_what_could_only_fail_in_training_fails_in_the_rehearsal(settings, message):
    with pytest.raises(UserError, match=message):
        rehearse(recipe_of(*settings), SOURCES)


def test_whatever_else_fails_is_one_line_too():
    class Breaks:
        requirements = Requirements()
        weight = 1.0

        def __call__(self, ctx):
            raise KeyError("a bug of a loss of one's own")

    recipe = recipe_of()
    recipe = recipe.replace(losses={**recipe.losses, "mine": Breaks()})
    with pytest.raises(
        UserError, match=r"training would fail with these settings: KeyError: .a bug"
    ):
        rehearse(recipe, SOURCES)


@pytest.mark.parametrize(
    "settings",
    [
        *(
            [],
            ["trainer.precision=bf16-mixed"],
            ["loss=[matryoshka,auxk]", "trainer.precision=bf16-mixed"],
        ),
        ["activation=gated", "loss=[squared,gate]", "trainer.precision=bf16-mixed"],
        ["activation=jumprelu", "loss=[squared,l0,pre_act]", "trainer.precision=bf16-mixed"],
        ["constraint=[partition]"],
    ],
    ids=str,
)
def test_what_works_passes_and_leaves_the_random_state(settings):
    before = torch.get_rng_state()
    rehearse(recipe_of(*settings), SOURCES)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("clip", ["1.0", "1e-4"])
def test_bf16_mixed_trains_with_a_fused_optimizer_and_clipped_gradients(
    module_of, batches, tmp_path, clip
):
    module = module_of(TopK(3), n_steps=30)
    adam = instantiate(composed("lr=3e-3").optimizer)
    module = CrosscoderModule(module.crosscoder, module.losses, adam, n_steps=30)
    norms = []

    def after(grad):
        norms.append(float(grad.norm()))

    settings = [
        "trainer.precision=bf16-mixed",
        f"trainer.gradient_clip_val={clip}",
        "trainer.log_every_n_steps=1",
    ]
    trainer = instantiate(composed(*settings).trainer, accelerator="cpu")
    project = module.project
    module.project = lambda: (norms.append(float(module.crosscoder.W_enc.grad.norm())), project())[
        1
    ]
    fit(module, batches, trainer, False, tmp_path / "checkpoints")
    assert max(norms) <= float(clip) * 1.01
    losses = [row["loss"] for row in json.loads((tmp_path / "curves.json").read_text())]
    assert losses[-1] < losses[0]
