"""A run of the tiny pair that can be explored, without any training."""

from pathlib import Path

import numpy as np
import torch

from crosscoder.analysis.parquet import save_parquet
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from tests.helpers.report_run import contexts, latent_table

N_LATENTS = 64


def write_explorable_run(folder: Path, pair: Pair) -> Run:
    """Write a crosscoder with random weights, large enough that every edit has an effect."""
    run = Run(folder)
    crosscoder = Crosscoder(pair.sources(), N_LATENTS, TopK(8), seed=3).fold()
    with torch.no_grad():
        noise = torch.randn(crosscoder.W_dec.shape, generator=torch.Generator().manual_seed(0))
        crosscoder.W_dec *= 4
        crosscoder.W_dec += 0.3 * noise  # the two models' decoders differ
    crosscoder.provenance["pair"] = pair.spec()
    crosscoder.save_pretrained(run.crosscoder)
    rng = np.random.default_rng(0)
    table = latent_table(N_LATENTS, rng)
    table.save(run.table_path("latents"))
    save_parquet(contexts(table, 3, 12, rng), run.table_path("contexts"), {})
    return run
