"""Find what differs between two language models: read both, train a crosscoder, list its latents.

The default pair is Gemma 3 270M and its finetuned version (extra `demo`, no hub). It takes about
five minutes on two CPU cores. `--pair gemma2_2b` and others of conf/models need the hub.
"""

import argparse

from crosscoder import load_pair
from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.batch_topk import BatchTopK
from crosscoder.data import Harvest, Text
from crosscoder.data.corpora.text import Chats, Files
from crosscoder.organisms.expertise import Transcripts
from crosscoder.training import Recipe

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--pair", default="gemma3_270m", help="a file of conf/models")
parser.add_argument("--text", nargs="*", help="files of text or chats, instead of transcripts")
parser.add_argument("--n-tokens", type=int, default=100_000, help="tokens that both models read")
parser.add_argument("--n-latents", type=int, default=2048)
args = parser.parse_args()

# or Pair({"base": {"weights": FOLDER}, "chat": {"weights": "owner/name"}}, layer=13)
pair = load_pair(args.pair)
corpus = Files(args.text) if args.text else Chats(Transcripts("train"), Transcripts("heldout"))
n = args.n_tokens
sizes = {"train": n, "validation": n // 20, "heldout": n // 10}
hookpoints = [f"resid_post.{pair.layer}"]
splits = Text([corpus], [1]).make_splits(pair, hookpoints, None, Harvest("outputs/stores"), sizes)

folder = "outputs/diff_two_models"
recipe = Recipe(args.n_latents, 10 * n, activation=BatchTopK(32, start=2, anneal=0.3))
crosscoder, figures = recipe.train(splits.train, splits.validation, splits.sources, folder)
crosscoder.provenance |= splits.provenance()  # evaluate.py finds models and tokens by it
crosscoder.save_pretrained(folder)
table = Analysis().make_table(crosscoder, splits.heldout)
table.save(f"{folder}/results/latents.parquet")
print(table.query("not dead").top("difference_share", 10))
