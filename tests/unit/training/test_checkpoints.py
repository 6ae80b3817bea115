"""A checkpoint of another run or program is refused in one line, and nothing is unpickled."""

import re
import zipfile

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.errors import UserError
from crosscoder.io.identity import Identity
from crosscoder.training import fit
from crosscoder.training.callbacks import LastCheckpoint
from crosscoder.training.checkpoints import find_checkpoint, require_same_run
from tests.helpers.configs import composed

OWN = Identity({"seed": 0, "k": 3}, {"train.tokens_sha256": "ab"})


@pytest.fixture
def checkpoint(module_of, trained, tmp_path):
    """Return a checkpoint of the run OWN, and its module's weights."""
    module = module_of(n_steps=2)
    trained(module, LastCheckpoint(tmp_path / "own", identity=OWN))
    return tmp_path / "own" / "last.ckpt", module.state_dict()


def test_ones_own_is_taken(checkpoint):
    require_same_run(checkpoint[0], OWN, checkpoint[1])


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        (Identity({"seed": 1, "k": 3}, OWN.inputs), r"is of another run \(seed: 0, not 1\)"),
        (
            Identity(OWN.settings, {"train.tokens_sha256": "cd"}),
            r"other inputs \(train.tokens_sha256: ab, not cd\)",
        ),
    ],
)
def test_another_runs_of_the_same_shape_is_not(checkpoint, identity, message):
    with pytest.raises(UserError, match=message):
        require_same_run(checkpoint[0], identity, checkpoint[1])


def test_one_without_an_identity_or_of_another_shape_is_not(checkpoint, tmp_path):
    path, weights = checkpoint
    content = torch.load(path, weights_only=True)
    del content["crosscoder_run"]
    torch.save(content, tmp_path / "old.ckpt")
    with pytest.raises(UserError, match=r"does not say which run it is of"):
        require_same_run(tmp_path / "old.ckpt", OWN, weights)
    name = "crosscoder.W_enc"
    with pytest.raises(
        UserError, match=rf"has {name} of shape \[48, 32\], and this run has it of shape \[2, 2\]"
    ):
        require_same_run(path, OWN, weights | {name: torch.zeros(2, 2)})


@pytest.mark.parametrize(
    "content",
    [{}, {"state_dict": {}, "global_step": 1}, {"wte": torch.zeros(2)}, torch.zeros(3), [1], 5],
)
def test_a_torch_file_of_something_else_is_not(tmp_path, content):
    path = tmp_path / "last.ckpt"
    torch.save(content, path)
    with pytest.raises(UserError, match=re.escape(str(path))):
        require_same_run(find_checkpoint(tmp_path), OWN, {})


def test_a_zip_file_is_not(tmp_path):
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    (tmp_path / "previous.ckpt").write_bytes(b"")
    with pytest.raises(UserError, match=r"last.ckpt is no checkpoint of a crosscoder's training"):
        find_checkpoint(tmp_path)


def test_fit_does_not_go_on_from_another_runs(checkpoint, module_of, batches, tmp_path):
    trainer = instantiate(composed().trainer, accelerator="cpu")
    with pytest.raises(UserError, match=r"is of another run"):
        fit(
            module_of(n_steps=4),
            batches,
            trainer,
            False,
            tmp_path / "own",
            True,
            Identity({"seed": 5}, {}),
        )
