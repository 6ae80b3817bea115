"""Tokens per second of a harvest against the bare forward pass that it cannot do without.

bare = the same models, cut off after the last layer that is read, on the same batches of the same
text, nothing kept harvest = everything from tokens to a finished store: hooks at every hookpoint,
the checks, writing, checksums, scales

Models are loaded before the clock starts; base and chat are both read. The two take turns, in
changing order, and both keep freed memory (crosscoder/runtime/memory.py).
"""

import tempfile
from statistics import median

import torch
import yaml
from hydra.utils import instantiate

from benchmarks.measure import arguments, report, timed
from crosscoder.data import Harvest
from crosscoder.data.packing import pack_documents
from crosscoder.data.tokens import TokenSet
from crosscoder.installation import find_conf
from crosscoder.lm import Hookpoint, Pair, load_pair
from crosscoder.runtime.memory import retain_freed_memory

CONF = find_conf()


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


def turn(
    pair: Pair, tokens: TokenSet, hookpoints: list[str], batch_tokens: int, bare_first: bool
) -> tuple[float, float]:
    """Seconds of (harvest, bare)."""
    layer = max(Hookpoint.parse(hookpoint).layer for hookpoint in hookpoints)

    def alone() -> float:
        with retain_freed_memory():
            return timed(lambda: bare(pair, tokens, layer, batch_tokens))

    def whole() -> float:
        with tempfile.TemporaryDirectory() as scratch:
            harvest, sources = Harvest(scratch, batch_tokens), pair.sources(hookpoints)
            return timed(lambda: harvest.run(pair, sources, {"train": tokens}))

    seconds = {}
    for run in (alone, whole) if bare_first else (whole, alone):
        for lm in pair.lms:
            pair[lm]  # a harvest drops the models when it is done
        seconds[run] = run()
    return seconds[whole], seconds[alone]


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
        batch_tokens={"type": int, "default": 4096, "help": "tokens per forward pass"},
        turns={"type": int, "default": 2, "help": "of each"},
    )
    pair = load_pair(args.models, residency="together", device=args.device)
    tokens, rows = text(pair, args.data, args.n_tokens), []
    for hookpoints in args.hookpoints:
        seconds = [
            turn(pair, tokens, hookpoints.split(","), args.batch_tokens, bare_first=number % 2 == 0)
            for number in range(args.turns)
        ]
        whole, alone = (
            len(pair.lms) * len(tokens.tokens) / median(column)
            for column in zip(*seconds, strict=True)
        )
        rows.append(
            {
                "hookpoints": hookpoints,
                "harvest_tokens_per_second": whole,
                "bare_tokens_per_second": alone,
                "ours_over_bare": sum(s for _, s in seconds) / sum(s for s, _ in seconds),
            }
        )
    report(f"Harvest of {args.models}", rows, args.json, args.device)


if __name__ == "__main__":
    main()
