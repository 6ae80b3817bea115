"""Train a crosscoder on a planted world and compare its verdicts with the truth.

The data are synthetic: it is known which features both models share and which only one has.
No language model is needed. It takes about a minute on two CPU cores.
"""

import argparse

import pandas as pd

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.data.synthetic.planted import Planted, read_truth
from crosscoder.evals.support.feature_recovery import FeatureRecovery
from crosscoder.training import Recipe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--train-tokens", type=int, default=1_000_000)
args = parser.parse_args()

# 96 features in both streams, 8 in base alone, 16 in chat alone
world = Planted(width=64, shared=96, base_only=8, chat_only=16)
splits = world.write("outputs/stores", n_tokens=100_000, n_validation=2_000, n_heldout=10_000)

folder = "outputs/train_planted"
recipe = Recipe(n_latents=128, train_tokens=args.train_tokens, activation=BatchTopK(8))
crosscoder, figures = recipe.train(splits.train, splits.validation, splits.sources, folder)
crosscoder.save_pretrained(folder)

table = Analysis().make_table(crosscoder, splits.heldout)
recovery = FeatureRecovery(crosscoder, read_truth(splits.heldout), table)
for name, value in recovery.match_scalars().items():
    print(f"{name}: {value:.2f}")
print(pd.DataFrame(recovery.score_rules()).round(2).to_string(index=False))
