"""What activations in one byte per number cost: variance lost as they are stored, and FVE of crosscoders trained on them.

Re-encodes stores that are there (by default the main job's), trains the main job's recipe on both, and judges both on the exact
held-out activations, so that figures differ by what was trained on alone. Two seeds say how much figures differ by themselves.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from benchmarks.measure import arguments, report
from crosscoder.data import Store
from crosscoder.data.compact import compact, restored
from crosscoder.evals import Subject
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.sources import Sources

CONF = Path(__file__).parents[1] / "conf"


def recoded(store: Store, folder: Path) -> Store:
    """The same activations in one byte per number."""
    entries = {name: {k: v for k, v in e.items() if k != "checksums"} for name, e in store.meta["sources"].items()}
    meta = {key: value for key, value in store.meta.items() if key not in ("format", "tokens_checksums", "sources")}
    new = Store.create(folder, meta | {"sources": entries})
    for shard in store:
        new.write(shard, "tokens", store.tokens(shard).tensors())
        for source in store.sources:
            new.write(shard, source.name, compact(store.acts(shard, [source.name])))
    return new


def lost(store: Store, sources: Sources) -> dict[str, float]:
    """Share of the variance that is lost, per source and of their difference, over tokens that are not special."""
    error, variance = (
        dict.fromkeys((*sources.names, "difference"), 0.0),
        dict.fromkeys((*sources.names, "difference"), 0.0),
    )
    for shard in store:
        ordinary = store.tokens(shard).ordinary
        streams = {name: store.acts(shard, [name]) for name in sources.names}
        again = {name: restored(compact(x), x.dtype)[ordinary].double() for name, x in streams.items()}
        exact = {name: x[ordinary].double() for name, x in streams.items()}
        if sources.contrast:
            chat, base = sources.contrast
            again["difference"], exact["difference"] = again[chat] - again[base], exact[chat] - exact[base]
        for name, x in exact.items():
            error[name] += float((again[name] - x).square().sum())
            variance[name] += float((x - x.mean(0)).square().sum())
    return {f"lost/{name}": error[name] / variance[name] for name in error if variance[name]}


def size(store: Store) -> int:
    """Bytes of its activations."""
    names = store.sources.names
    return sum(file.stat().st_size for name in names for file in store.folder.glob(f"*.{name}.safetensors"))


def main() -> None:
    """Measure and report."""
    given = arguments(
        str(__doc__),
        settings={
            "nargs": "*",
            "default": ["train_tokens=1_000_000"],
            "help": "of train.py, for the data and the recipe",
        },
        seeds={"type": int, "nargs": "+", "default": [0, 1], "help": "of weights and order"},
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch, initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*given.settings, "logger=none", "run=unused"])
        pair, data, harvest = (instantiate(part, _convert_="all") for part in (cfg.models, cfg.data, cfg.harvest))
        sizes = {"train": cfg.n_tokens, "validation": cfg.n_validation, "heldout": cfg.n_heldout}
        exact = data.stores(pair, list(cfg.hookpoints), cfg.sources, harvest, sizes)
        small = replace(exact, **{n: recoded(getattr(exact, n), Path(scratch) / n) for n in ("train", "validation")})
        gone = lost(exact.heldout, exact.sources)
        for seed in given.seeds:
            for kind, splits in {"exact": exact, "int8": small}.items():
                settings = [*given.settings, f"seed={seed}", "logger=none", "run=unused"]
                recipe = instantiate(compose("train", settings).recipe, _convert_="all")
                folder = Path(scratch) / f"{kind}-{seed}"
                crosscoder, _ = recipe(splits.train, splits.validation, splits.sources, folder)
                subject = Subject(crosscoder, exact.heldout, None)
                figures = {
                    k: v for k, v in ReconstructionEval()(subject).scalars.items() if k.startswith(("fve", "l0"))
                }
                costs = {key: value if kind == "int8" else 0.0 for key, value in gone.items()}
                rows.append({"storage": f"{kind}, seed {seed}", "mb": size(splits.train) / 1e6, **costs, **figures})
    report("Activations stored exactly and in one byte per number", rows, given.json, given.device)


if __name__ == "__main__":
    main()
