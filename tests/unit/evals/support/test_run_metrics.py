"""metrics.json of a run."""

import json

from crosscoder.evals import Result
from crosscoder.evals.support.run_metrics import write_run_metrics
from crosscoder.io.run_dir import Run


def test_metrics_hold_the_reconstruction_the_training_and_the_hashes(tmp_path):
    results = [
        Result("reconstruction", {"fve/chat": 0.97, "l0": 31.5}),
        Result("splice", {"kl/chat": 0.1}),
    ]
    training = {"n_latents": 4096, "loss": 0.1}
    write_run_metrics(Run(tmp_path), results, training, "cd" * 32, "ab" * 32)
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "fve/chat": 0.97,
        "l0": 31.5,
        "n_latents": 4096,
        "loss": 0.1,
        "tokens_sha256": "cd" * 32,
        "crosscoder_sha256": "ab" * 32,
    }
