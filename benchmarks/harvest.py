"""Tokens per second of a harvest: as it is now, as it was, and of the bare forward pass.

bare = the same models, cut off after the last layer that is read, on the same batches of the same
text, nothing kept before = everything from tokens to a finished store (hooks, checks, writing,
checksums, scales), with 4,096 tokens per pass and uncompiled layers, as bare harvest = the same
with the batch that the trial chooses, and compiled layers

Base and chat are both read. The three take turns, in changing order, and keep freed memory
(crosscoder/runtime/memory.py). What a harvest does once (loading, compiling, opening the store) is
left out: a harvest of a few tokens is subtracted from each. `preparation_seconds` are those of the
trial and of both compilations, from an empty cache of the compiler. Errors are mean relative errors
of a token's activations against float32 models.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch._inductor.utils
import yaml
from hydra.utils import instantiate

from benchmarks.measure import arguments, report, timed
from crosscoder.core.sources import Sources
from crosscoder.data import Harvest
from crosscoder.data.packing import pack_documents
from crosscoder.data.passes import Passes
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import UserError, exit_on_error
from crosscoder.installation import find_conf
from crosscoder.lm import Hookpoint, Pair, load_pair
from crosscoder.lm.loading.measuring import measure_token_error
from crosscoder.runtime.memory import retain_freed_memory

CONF = find_conf()
MAIN_JOB = 322_000  # tokens of the main job, for which a trial is made
FEW = 1024  # tokens of the harvest that is subtracted
N_COMPARED = 4096  # tokens on which errors are measured
BEFORE = {"batch_tokens": 4096, "compile": False}


def text(pair: Pair, name: str, n_tokens: int) -> TokenSet:
    """Tokens of a `data=` choice, packed as for training."""
    data = instantiate(
        yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text()), _convert_="all"
    )
    return pack_documents(
        pair.tokenizer, data.corpora, data.shares, "train", n_tokens, data.seq_len
    )


@torch.inference_mode()
def bare(pair: Pair, tokens: TokenSet, layer: int, batch_tokens: int) -> None:
    """Run every model's layers up to `layer`."""
    for lm in pair.lms:
        decoder = pair[lm].get_decoder()
        layers, decoder.layers = decoder.layers, decoder.layers[: layer + 1]
        batch = batch_tokens // tokens.seq_len
        for start in range(0, tokens.n_sequences, batch):
            part = tokens.get_sequences(start, min(start + batch, tokens.n_sequences))
            ids, positions = (
                column.view(-1, tokens.seq_len).to(pair.device)
                for column in (part.ids, part.position)
            )
            decoder(input_ids=ids, position_ids=positions, use_cache=False)
        decoder.layers = layers


def prepare(pair: Pair, sources: Sources, tokens: TokenSet) -> tuple[int, float]:
    """Return the batch that the trial chooses, and the seconds of trial and compilation."""
    packing = pair.choose_packing(sources, tokens.seq_len)
    passes = Passes(pair, "auto", compile=True, n_tokens=MAIN_JOB)

    def read_one_batch() -> None:
        for lm in pair.lms:
            own = [source for source in sources if source.lm == lm]
            next(passes.read(lm, own, tokens, packing, 0, tokens.n_sequences))

    load(pair)
    with torch._inductor.utils.fresh_cache(), retain_freed_memory(), passes:
        seconds = timed(read_one_batch)
    assert passes.batch_tokens != "auto"
    return passes.batch_tokens, seconds


def load(pair: Pair) -> None:
    """Load the models, which a harvest drops when it is done."""
    for lm in pair.lms:
        pair[lm]


def harvest_seconds(pair: Pair, sources: Sources, settings: dict, tokens: TokenSet) -> float:
    """Return the seconds of a harvest into an empty folder."""
    load(pair)
    with tempfile.TemporaryDirectory() as scratch:
        harvest = Harvest(scratch, **settings)
        return timed(lambda: harvest.run(pair, sources, {"train": tokens}))


def bare_seconds(pair: Pair, layer: int, tokens: TokenSet) -> float:
    """Return the seconds of the bare forward passes."""
    load(pair)
    with retain_freed_memory():
        return timed(lambda: bare(pair, tokens, layer, BEFORE["batch_tokens"]))


def rate(seconds: Callable[[TokenSet], float], n_models: int, tokens: TokenSet) -> float:
    """Return tokens per second, of all models together, without what is done once."""
    few = tokens.take(FEW)
    n = n_models * (len(tokens.tokens) - len(few.tokens))
    return n / (seconds(tokens) - seconds(few))


def error(pair: Pair, sources: Sources, settings: dict, tokens: TokenSet) -> float:
    """Return the largest error of a source against float32 models."""
    few = tokens.take(N_COMPARED)
    exact_pair = pair.in_dtype("float32")
    with tempfile.TemporaryDirectory() as scratch:
        harvest = Harvest(Path(scratch) / "own", **settings)
        store = harvest.run(pair, sources, {"train": few})["train"]
        exact_harvest = Harvest(Path(scratch) / "exact", compile=False)
        exact = exact_harvest.run(exact_pair, sources, {"train": few})["train"]
        errors = []
        for name in sources.names:
            found = torch.cat([store.acts(shard, [name]) for shard in store])
            expected = torch.cat([exact.acts(shard, [name]) for shard in exact])
            errors.append(measure_token_error(found, expected))
    return max(errors)


def row(pair: Pair, hookpoints: str, tokens: TokenSet, turns: int) -> dict[str, float | str]:
    """Return the row of a set of hookpoints."""
    sources = pair.sources(hookpoints.split(","))
    layer = max(Hookpoint.parse(source.hookpoint).layer for source in sources)
    batch_tokens, preparation = prepare(pair, sources, tokens)
    now = {"batch_tokens": batch_tokens, "compile": True}
    contestants = {
        "bare": partial(bare_seconds, pair, layer),
        "before": partial(harvest_seconds, pair, sources, BEFORE),
        "harvest": partial(harvest_seconds, pair, sources, now),
    }
    contestants["harvest"](tokens.take(FEW))  # fills the compiler's own cache
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(turns):
        names = list(contestants) if number % 2 == 0 else list(reversed(contestants))
        for name in names:
            rates[name].append(rate(contestants[name], len(pair.lms), tokens))
    middle = {name: median(values) for name, values in rates.items()}
    return {
        "hookpoints": hookpoints,
        "harvest_tokens_per_second": middle["harvest"],
        "before_tokens_per_second": middle["before"],
        "bare_tokens_per_second": middle["bare"],
        "harvest_over_before": middle["harvest"] / middle["before"],
        "ours_over_bare": middle["before"] / middle["bare"],
        "batch_tokens": batch_tokens,
        "preparation_seconds": preparation,
        "harvest_error": error(pair, sources, now, tokens),
        "before_error": error(pair, sources, BEFORE, tokens),
    }


@exit_on_error()
def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        models={"default": "gemma3_270m", "help": "the pair, a choice of conf/models"},
        data={"default": "python_docs", "help": "the text, a choice of conf/data"},
        hookpoints={
            "nargs": "+",
            "default": ["resid_post.9", "resid_post.9,mlp_out.9,attn_out.9,attn_z.9"],
            "help": "sets of hookpoints, each set separated by commas",
        },
        n_tokens={"type": int, "default": 32_768, "help": "tokens, read by both models"},
        turns={"type": int, "default": 2, "help": "of each"},
    )
    if args.n_tokens <= FEW:
        raise UserError(f"--n-tokens must be above {FEW:,}, found {args.n_tokens:,}")
    pair = load_pair(args.models, residency="together", device=args.device)
    tokens = text(pair, args.data, args.n_tokens)
    rows = [row(pair, hookpoints, tokens, args.turns) for hookpoints in args.hookpoints]
    report(f"Harvest of {args.models}", rows, args.json, args.device)


if __name__ == "__main__":
    main()
