"""The commands on a device: every eval of a run of the tiny pair."""

import json

import pytest

from tests.docs.running import SMALL_EVALS
from tests.e2e.commands import here
from tests.helpers.configs import choices

pytestmark = pytest.mark.long
SIZES = [
    "n_tokens=4000",
    "n_validation=500",
    "n_heldout=1000",
    "train_tokens=4000",
    "batch_size=128",
    "n_latents=32",
    "k=3",
    "logger=none",
]
NAMES = [name for name in choices("eval") if name != "recovery"]  # recovery needs planted features


def test_a_run_and_all_its_evals(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    accelerator = "cuda" if device == "cuda" else "cpu"  # Lightning does not know the other one
    options = ["models=tiny", f"models.device={device}", f"trainer.accelerator={accelerator}"]
    done = here("train.py", *options, "run=outputs/RUN", "behaviour=expertise", *SIZES)
    assert done.code == 0, done.out + done.err
    small = [f"eval.{name}.{setting}" for name in NAMES for setting in SMALL_EVALS.get(name, [])]
    chosen = f"eval=[{','.join(NAMES)}]"
    done = here("evaluate.py", "crosscoder=outputs/RUN", f"device={device}", chosen, *small)
    assert done.code == 0, done.out + done.err
    for name in NAMES:
        result = json.loads((tmp_path / f"outputs/RUN/results/{name}.json").read_text())
        assert result["scalars"], name
