"""Choose latents by two kinds of prompts, ablate them, and compare the answers.

RUN is a folder of diff_two_models.py (the default), or of train.py after evaluate.py eval=[diff].
It takes about two minutes on two CPU cores with the default pair, which is gentle with novices.
"""

import argparse

from crosscoder import Crosscoder, LatentTable, Pair, load_behaviour
from crosscoder.analysis.columns.prompts import PromptContrast
from crosscoder.evals.support.rankings import rank_candidates
from crosscoder.interventions.ablate import ablate
from crosscoder.lm.answering import generate_answers

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("run", nargs="?", default="outputs/diff_two_models")
parser.add_argument("--latents", type=int, nargs="*", help="these, instead of the chosen ones")
parser.add_argument("--pairs", type=int, default=32, help="pairs of prompts to choose with")
args = parser.parse_args()

crosscoder = Crosscoder.from_pretrained(args.run)
pair = Pair.from_spec(crosscoder.provenance["pair"])
behaviour = load_behaviour("expertise")  # or your own questions: docs/behaviours.md

latents = args.latents
if latents is None:
    contrast = PromptContrast(behaviour.make_prompt_pairs("train"), "novice_expert", args.pairs)
    table = LatentTable.load(f"{args.run}/results/latents.parquet")
    table = table.with_columns(contrast(crosscoder, pair))
    latents = rank_candidates(table, "novice_expert")[:4].tolist()

question, _ = behaviour.make_prompt_pairs("heldout")[0]  # of a topic that chose nothing
for removed in ([], latents):
    with pair.edit("chat", ablate(crosscoder, removed)) as chat:
        (answer,) = generate_answers(chat, pair.tokenizer, [question])
    print(f"\nwithout {removed or 'an edit'}:\n{answer}")
