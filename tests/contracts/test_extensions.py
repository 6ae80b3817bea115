"""A new reconstruction loss, and a new activation with its own loss, train with no other edit."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from crosscoder.cli.train import main as train
from crosscoder.core.model import Crosscoder
from crosscoder.errors import UserError
from crosscoder.losses.auxk import AuxK
from crosscoder.training.compatibility import check_compatibility
from tests.helpers.configs import activation_of
from tests.helpers.extensions import Huber, SoftThreshold

EXTENSIONS = "tests.helpers.extensions"


def test_a_new_reconstruction_loss_and_an_activation_with_its_own_loss_train(config_of):
    config = config_of(activation="relu", loss="[auxk]")
    OmegaConf.set_struct(config, False)
    config.activation = {
        "_target_": f"{EXTENSIONS}.SoftThreshold",
        "n_latents": "${n_latents}",
    }
    config.loss["huber"] = {"_target_": f"{EXTENSIONS}.Huber"}
    config.loss["margin"] = {"_target_": f"{EXTENSIONS}.MarginLoss"}

    train(config)

    run = Path(config.run)
    last = json.loads((run / "curves.json").read_text())[-1]
    assert {"loss/huber", "loss/margin"} <= set(last)
    loaded = Crosscoder.from_pretrained(run, activation_module=EXTENSIONS)
    assert isinstance(loaded.activation, SoftThreshold)
    assert (loaded.activation.margin != 0.1).any()
    acts = loaded.mean + loaded.scale * torch.randn(20, loaded.sources.d_total)
    assert loaded.decode(loaded.encode(acts)).isfinite().all()


def test_a_new_reconstruction_loss_is_enough():
    check_compatibility(activation_of("topk"), {"huber": Huber(), "auxk": AuxK()}, {})


def test_a_new_activation_is_refused_without_its_loss():
    with pytest.raises(UserError, match="activation extensions is sparse only with a sparsity"):
        check_compatibility(SoftThreshold(24), {"huber": Huber()}, {})
