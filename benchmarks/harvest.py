"""Tokens per second of a harvest: as it is now, as it was, and of the bare forward pass.

bare = the same models, cut off after the last layer that is read, on the same batches of the same
text, nothing kept before = everything from tokens to a finished store (hooks, checks, writing,
checksums, scales), with 4,096 tokens per pass and uncompiled layers, as bare harvest = the same
with the batch that the trial chooses, and compiled layers

Base and chat are both read. The three take turns, in changing order, and keep freed memory
(crosscoder/runtime/memory.py). Models are loaded and compiled before the clock starts.
`preparation_seconds` are those of the trial and of both compilations, from an empty cache of the
compiler. Errors are mean relative errors of a token's activations against float32 models.
"""

import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch._inductor.utils
import yaml
from hydra.utils import instantiate
from torch import Tensor

from benchmarks.measure import arguments, report, timed
from crosscoder.core.sources import Sources
from crosscoder.data import Harvest
from crosscoder.data.packing import pack_documents
from crosscoder.data.passes import Passes
from crosscoder.data.tokens import TokenSet
from crosscoder.errors import exit_on_error
from crosscoder.installation import find_conf
from crosscoder.lm import Hookpoint, Pair, load_pair
from crosscoder.lm.compiling import compile_layers
from crosscoder.lm.loading.measuring import measure_token_error
from crosscoder.runtime.memory import retain_freed_memory

CONF = find_conf()
MAIN_JOB = 322_000  # tokens of the main job, for which a trial is made
N_COMPARED = 4096  # tokens on which errors are measured
BEFORE_TOKENS = 4096  # tokens per pass as it was


def text(pair: Pair, name: str, n_tokens: int) -> TokenSet:
    """Tokens of a `data=` choice, packed as for training."""
    data = instantiate(
        yaml.safe_load((CONF / "data" / f"{name}.yaml").read_text()), _convert_="all"
    )
    return pack_documents(
        pair.tokenizer, data.corpora, data.shares, "train", n_tokens, data.seq_len
    )


def model_input(pair: Pair, tokens: TokenSet, start: int, batch: int) -> tuple[Tensor, Tensor]:
    """Return ids and positions [batch, seq_len] of the sequences from number `start` on."""
    part = tokens.get_sequences(start, min(start + batch, tokens.n_sequences))
    ids = part.ids.view(-1, tokens.seq_len)
    positions = part.position.view(-1, tokens.seq_len)
    return ids.to(pair.device), positions.to(pair.device)


@torch.inference_mode()
def bare(pair: Pair, tokens: TokenSet, layer: int, batch_tokens: int) -> None:
    """Run every model's layers up to `layer`."""
    for lm in pair.lms:
        decoder = pair[lm].get_decoder()
        layers, decoder.layers = decoder.layers, decoder.layers[: layer + 1]
        batch = batch_tokens // tokens.seq_len
        for start in range(0, tokens.n_sequences, batch):
            ids, positions = model_input(pair, tokens, start, batch)
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


def harvest_seconds(pair: Pair, sources: Sources, batch_tokens: int, tokens: TokenSet) -> float:
    """Return the seconds of a harvest into an empty folder."""
    load(pair)
    with tempfile.TemporaryDirectory() as scratch:
        harvest = Harvest(scratch, batch_tokens, compile=False)
        return timed(lambda: harvest.run(pair, sources, {"train": tokens}))


def compiled_seconds(pair: Pair, sources: Sources, batch_tokens: int, tokens: TokenSet) -> float:
    """Return the seconds of a harvest by compiled models, which are compiled one by one."""
    seconds = 0.0
    packing = pair.choose_packing(sources, tokens.seq_len)
    ids, positions = model_input(pair, tokens, 0, batch_tokens // tokens.seq_len)
    for lm in pair.lms:
        own = Sources(tuple(source for source in sources if source.lm == lm))
        hookpoints = [Hookpoint.parse(source.hookpoint) for source in own]
        with compile_layers(pair[lm], hookpoints, ids, positions, packing):
            seconds += harvest_seconds(pair, own, batch_tokens, tokens)
    return seconds


def bare_seconds(pair: Pair, layer: int, tokens: TokenSet) -> float:
    """Return the seconds of the bare forward passes."""
    load(pair)
    with retain_freed_memory():
        return timed(lambda: bare(pair, tokens, layer, BEFORE_TOKENS))


def error(
    pair: Pair, sources: Sources, batch_tokens: int, compile: bool, tokens: TokenSet
) -> float:
    """Return the largest error of a source against float32 models."""
    few = tokens.take(N_COMPARED)
    exact_pair = pair.in_dtype("float32")
    with tempfile.TemporaryDirectory() as scratch:
        harvest = Harvest(Path(scratch) / "own", batch_tokens, compile=compile)
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
    contestants = {
        "bare": partial(bare_seconds, pair, layer),
        "before": partial(harvest_seconds, pair, sources, BEFORE_TOKENS),
        "harvest": partial(compiled_seconds, pair, sources, batch_tokens),
    }
    n_read = len(pair.lms) * len(tokens.tokens)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(turns):
        names = list(contestants) if number % 2 == 0 else list(reversed(contestants))
        for name in names:
            rates[name].append(n_read / contestants[name](tokens))
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
        "harvest_error": error(pair, sources, batch_tokens, True, tokens),
        "before_error": error(pair, sources, BEFORE_TOKENS, False, tokens),
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
    pair = load_pair(args.models, residency="together", device=args.device)
    tokens = text(pair, args.data, args.n_tokens)
    rows = [row(pair, hookpoints, tokens, args.turns) for hookpoints in args.hookpoints]
    report(f"Harvest of {args.models}", rows, args.json, args.device)


if __name__ == "__main__":
    main()
