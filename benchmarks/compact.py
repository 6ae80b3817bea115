"""Cost of int8 stores: lost variance, and the FVE of crosscoders trained on them.

Re-encodes existing stores (by default the main job's), trains the main job's recipe on both, and
evaluates both on the exact held-out activations, so that only the training data differ. Two seeds
show how much figures vary by themselves.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks.measure import arguments, report
from crosscoder.core.sources import Sources
from crosscoder.data import Store
from crosscoder.data.storage.quantization import dequantize, quantize
from crosscoder.evals import EvalContext
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.installation import find_conf

CONF = find_conf()


def recode(store: Store, folder: Path) -> Store:
    """Write a copy of a store with one byte per number."""
    entries = {
        name: {k: v for k, v in e.items() if k != "checksums"}
        for name, e in store.meta["sources"].items()
    }
    meta = {
        key: value
        for key, value in store.meta.items()
        if key not in ("format", "tokens_checksums", "sources")
    }
    new = Store.create(folder, meta | {"sources": entries})
    for shard in store:
        new.write(shard, "tokens", store.tokens(shard).tensors())
        for source in store.sources:
            new.write(shard, source.name, quantize(store.acts(shard, [source.name])))
    return new


def measure_loss(store: Store, sources: Sources) -> dict[str, float]:
    """Return the lost fraction of variance, per source and of the difference (content tokens)."""
    error = dict.fromkeys((*sources.names, "difference"), 0.0)
    variance = dict.fromkeys((*sources.names, "difference"), 0.0)
    for shard in store:
        ordinary = store.tokens(shard).is_content
        streams = {name: store.acts(shard, [name]) for name in sources.names}
        again = {
            name: dequantize(quantize(x), x.dtype)[ordinary].double() for name, x in streams.items()
        }
        exact = {name: x[ordinary].double() for name, x in streams.items()}
        if sources.diff_pair:
            chat, base = sources.diff_pair
            again["difference"] = again[chat] - again[base]
            exact["difference"] = exact[chat] - exact[base]
        for name, x in exact.items():
            error[name] += float((again[name] - x).square().sum())
            variance[name] += float((x - x.mean(0)).square().sum())
    return {f"lost/{name}": error[name] / variance[name] for name in error if variance[name]}


def size(store: Store) -> int:
    """Return the bytes of a store's activations."""
    names = store.sources.names
    return sum(
        file.stat().st_size for name in names for file in store.folder.glob(f"*.{name}.safetensors")
    )


def main() -> None:
    """Measure and report."""
    args = arguments(
        str(__doc__),
        settings={
            "nargs": "*",
            "default": ["train_tokens=1_000_000"],
            "help": "of train.py, for the data and the recipe",
        },
        seeds={"type": int, "nargs": "+", "default": [0, 1], "help": "of weights and order"},
    )
    rows = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        initialize_config_dir(str(CONF), version_base="1.3"),
    ):
        cfg = compose("train", [*args.settings, "logger=none", "run=unused"])
        pair = instantiate(cfg.models, _convert_="all")
        data = instantiate(cfg.data, _convert_="all")
        harvest = instantiate(cfg.harvest, _convert_="all")
        sizes = {"train": cfg.n_tokens, "validation": cfg.n_validation, "heldout": cfg.n_heldout}
        exact = data.make_splits(pair, list(cfg.hookpoints), cfg.sources, harvest, sizes)
        small = replace(
            exact,
            **{n: recode(getattr(exact, n), Path(scratch) / n) for n in ("train", "validation")},
        )
        losses = measure_loss(exact.heldout, exact.sources)
        for seed in args.seeds:
            for kind, splits in {"exact": exact, "int8": small}.items():
                settings = [*args.settings, f"seed={seed}", "logger=none", "run=unused"]
                recipe = instantiate(compose("train", settings).recipe, _convert_="all")
                folder = Path(scratch) / f"{kind}-{seed}"
                crosscoder, _ = recipe.train(
                    splits.train, splits.validation, splits.sources, folder
                )
                context = EvalContext(crosscoder, exact.heldout, None)
                figures = {
                    k: v
                    for k, v in ReconstructionEval()(context).scalars.items()
                    if k.startswith(("fve", "l0"))
                }
                costs = {key: value if kind == "int8" else 0.0 for key, value in losses.items()}
                rows.append(
                    {
                        "storage": f"{kind}, seed {seed}",
                        "mb": size(splits.train) / 1e6,
                        **costs,
                        **figures,
                    }
                )
    report("Activations stored exactly and in one byte per number", rows, args.json, args.device)


if __name__ == "__main__":
    main()
