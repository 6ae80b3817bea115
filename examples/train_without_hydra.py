"""Train on your own activations with the library alone: store from arrays, recipe, fit, table.

The arrays are synthetic stand-ins for activations of two models on the same tokens, from any
program. No language model is needed. It takes half a minute on two CPU cores.
"""

import argparse

import numpy as np

from crosscoder import Store
from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.training import Recipe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--train-tokens", type=int, default=500_000)
args = parser.parse_args()

# replace these lines by your arrays [n_tokens, width]: here the base lacks the last 10 features
rng = np.random.default_rng(0)
directions = rng.normal(size=(100, 64)).astype("float32")
strengths = rng.random((55_000, 100), "float32") * (rng.random((55_000, 100)) < 0.04)
base = strengths[:, :90] @ directions[:90]
chat = strengths @ directions

stores = {}
for split, rows in {"train": slice(0, 50_000), "heldout": slice(50_000, None)}.items():
    arrays = {"base": base[rows], "chat": chat[rows]}
    stores[split] = Store.from_arrays(f"outputs/{split}", arrays, diff_pair=["chat", "base"])
train, heldout = stores["train"], stores["heldout"]

folder = "outputs/train_without_hydra"
recipe = Recipe(n_latents=128, train_tokens=args.train_tokens, activation=BatchTopK(5))
crosscoder, figures = recipe.train(train, heldout, train.sources, folder)
crosscoder.save_pretrained(folder)
table = Analysis().make_table(crosscoder, heldout)
print(table.find_chat_specific_features())
