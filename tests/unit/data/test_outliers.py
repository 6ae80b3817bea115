"""Tokens of huge norm are found, reported, and excluded from everything that is measured."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from crosscoder.analysis.analysis import Analysis
from crosscoder.core.activations.topk import TopK
from crosscoder.core.types import Kind
from crosscoder.data import Mixing, Scale, Splits, Store
from crosscoder.data.exclude import EXCLUDE, OUTLIER
from crosscoder.data.outliers import Outliers, count_excluded, warn_of_outliers
from crosscoder.data.storage.common_tokens import restrict_to_common_tokens
from crosscoder.data.storage.quantization import make_shard
from crosscoder.errors import UserError
from crosscoder.evals import EvalContext
from crosscoder.evals.reconstruction import ReconstructionEval
from crosscoder.evals.support.encoding import read_acts
from tests.helpers.configs import composed
from tests.helpers.small import crosscoder_of, random_acts, sources_of, store_of

N, WIDTH, COUNTS = 600, 6, [250, 250, 100]
SOURCES = sources_of(WIDTH, WIDTH)
ROWS = torch.arange(5, N, 100)  # 1 in 100: of base the even ones, of chat the odd ones
SPECIAL = torch.arange(0, N, 50)


def streams(factor: float = 100.0) -> dict[str, torch.Tensor]:
    base, chat = random_acts(N, WIDTH), random_acts(N, WIDTH, seed=1)
    base[ROWS[::2]] *= factor
    chat[ROWS[1::2]] *= factor
    base[SPECIAL] *= 1000  # has no say in what is usual
    return {"base": base, "chat": chat}


@pytest.fixture
def kind() -> torch.Tensor:
    kind = torch.full((N,), Kind.PLAIN)
    kind[SPECIAL] = Kind.SPECIAL
    return kind


@pytest.fixture
def store(tmp_path, kind) -> Store:
    """Write a store without norms, like older ones and those from elsewhere."""
    return store_of(tmp_path / "store", streams(), COUNTS, kind)


def read_eligible(store: Store, names: list[str], exclude=EXCLUDE) -> torch.Tensor:
    return torch.cat([store.find_eligible(shard, names, exclude) for shard in store])


def rows_left_out(store: Store, names: list[str], exclude=EXCLUDE) -> set[int]:
    return set((~read_eligible(store, names, exclude)).nonzero()[:, 0].tolist()) - set(
        SPECIAL.tolist()
    )


# --- definition ---


def test_an_outlier_in_any_source_that_is_read_is_left_out(store):
    assert rows_left_out(store, ["base"]) == set(ROWS[::2].tolist())
    assert rows_left_out(store, ["chat"]) == set(ROWS[1::2].tolist())
    assert rows_left_out(store, ["base", "chat"]) == set(ROWS.tolist())
    assert rows_left_out(store, ["base", "chat"], ["special"]) == set()
    assert rows_left_out(store, ["chat-base"]) == set(ROWS.tolist())
    assert not read_eligible(store, ["base"])[SPECIAL].any()
    assert read_eligible(store, ["base"], ["outlier"])[SPECIAL].sum() < len(SPECIAL)


def test_outliers_are_above_the_threshold_times_the_median(tmp_path):
    x = torch.ones(200, 1)
    x[7] = 0.999 * OUTLIER
    x[9] = -1.001 * OUTLIER
    store = store_of(tmp_path / "s", {"base": x}, [200])
    assert (~store.find_eligible(0, ["base"], EXCLUDE)).nonzero().tolist() == [[9]]


def test_tokens_without_any_activation_do_not_make_others_outliers(tmp_path):
    x = torch.zeros(100, 2)
    x[60:] = random_acts(40, 2)
    store = store_of(tmp_path / "s", {"base": x, "nothing": torch.zeros(100, 2)}, [100])
    assert store.find_eligible(0, ["base", "nothing"], EXCLUDE).all()


def test_infinity_is_not_an_outlier_but_an_error(tmp_path):
    x = random_acts(100, 2)
    x[3] = torch.inf
    store = store_of(tmp_path / "s", {"base": x}, [100])
    assert store.find_eligible(0, ["base"], EXCLUDE).all()
    with pytest.raises(UserError, match="constant or not finite"):
        Scale().fit(store, sources_of(2))


@pytest.mark.parametrize("storage", ["exact", "int8"])
def test_stored_norms_exclude_the_same_tokens_as_measured_ones(store, tmp_path, kind, storage):
    marked = store_of(tmp_path / "marked", streams(), COUNTS, kind)
    for shard, counts in enumerate(COUNTS):
        start = sum(COUNTS[:shard])
        for name, acts in streams().items():
            marked.write(shard, name, make_shard(acts[start : start + counts], storage))
    marked = Store(marked.folder)
    assert torch.equal(
        read_eligible(marked, ["base", "chat"]), read_eligible(store, ["base", "chat"])
    )
    assert marked.median_norm("chat") == pytest.approx(store.median_norm("chat"))
    whole = torch.cat([marked.acts(shard, ["base"]) for shard in marked])
    usual = read_eligible(store, ["base"])
    error = (whole - streams()["base"])[usual]
    assert error.square().mean() < 1e-3  # outliers do not cost the other tokens precision


def test_norms_are_read_without_the_activations(store, tmp_path, monkeypatch):
    marked = store_of(tmp_path / "marked", {"base": random_acts(8, 2)}, [8])
    marked.write(0, "base", make_shard(random_acts(8, 2)))
    monkeypatch.setattr(Store, "_load", None)
    torch.testing.assert_close(marked.norms(0, "base"), random_acts(8, 2).norm(dim=1))


def test_the_median_norm_is_measured_once_and_saved(store, monkeypatch):
    median = store.median_norm("base")
    assert Store(store.folder).meta["sources"]["base"]["median_norm"] == median
    monkeypatch.setattr(Store, "norms", None)
    assert Store(store.folder).median_norm("base") == median


def test_the_median_norm_is_measured_again_after_a_new_shard(store):
    before = store.median_norm("base")
    for shard, count in enumerate(COUNTS):
        store.write(shard, "base", {"acts": 3 * random_acts(count, WIDTH)})
    assert store.median_norm("base") > 2 * before


def test_norms_of_a_read_only_store_are_measured(store, monkeypatch):
    def refuses(*_) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("crosscoder.data.storage.reader.write_json", refuses)
    assert rows_left_out(store, ["base", "chat"]) == set(ROWS.tolist())
    assert "median_norm" not in Store(store.folder).meta["sources"]["base"]


# --- reports ---


def test_outliers_are_counted_with_their_fraction_of_the_variance(store):
    found = Outliers.from_store(store, SOURCES)
    assert (found.n, found.n_tokens) == (len(ROWS), N - len(SPECIAL))
    acts = streams()["base"][torch.isin(torch.arange(N), SPECIAL, invert=True)].double()
    large = acts.norm(dim=1) > 50
    share = float(acts[large].square().sum() / acts.square().sum())
    assert share > 0.9
    assert found.variance["base"] == pytest.approx(share, abs=1e-3)
    assert found.describe().startswith("6 tokens (1.020%) with 9")
    assert count_excluded(store, SOURCES, EXCLUDE) == {"special": 12, "outlier": 6}
    assert count_excluded(store, SOURCES, ["special"]) == {"special": 12, "outlier": 0}


def test_a_source_without_outliers_says_none(tmp_path):
    store = store_of(tmp_path / "s", {"base": random_acts(50, 3)}, [50])
    assert Outliers.from_store(store, sources_of(3)).describe() == "none"


@pytest.mark.parametrize(
    ("factor", "exclude", "words"),
    [
        (100.0, ["special"], ["6 tokens", "exclude=[special,outlier] leaves them out"]),
        (100.0, ["special", "outlier"], None),
        (9.0, ["special", "outlier"], ["not outliers", "they dominate losses and FVE"]),
        (1.0, ["special"], None),
    ],
)
def test_a_warning_says_that_few_tokens_dominate_the_losses(
    factor, exclude, words, tmp_path, kind, caplog
):
    store = store_of(tmp_path / "s", streams(factor), COUNTS, kind)
    with caplog.at_level(logging.WARNING):
        warn_of_outliers(store, SOURCES, exclude)
    assert bool(caplog.records) == bool(words)
    for word in words or ():
        assert word in caplog.text


def test_a_warning_says_that_many_tokens_are_left_out(tmp_path, caplog):
    x = random_acts(100, 4)
    x[:20] *= 100
    warn_of_outliers(store_of(tmp_path / "s", {"base": x}, [100]), sources_of(4), EXCLUDE)
    assert "they are left out, though they are many" in caplog.text


# --- exclusion ---


def test_batches_and_scale_exclude_outliers(store):
    acts = torch.cat(list(streams().values()), dim=1)[read_eligible(store, ["base", "chat"])]
    assert torch.equal(torch.cat(list(Mixing(store, SOURCES).iter_in_order(64))), acts)
    mean, scale = Scale().fit(store, SOURCES)
    torch.testing.assert_close(mean, acts.mean(0))
    assert scale.max() < 2
    spoilt = Scale().fit(store, SOURCES, ["special"])[1]
    assert spoilt.min() > 5


def test_figures_exclude_outliers_if_training_did_and_report_their_number(store):
    crosscoder = crosscoder_of(TopK(3), (WIDTH, WIDTH)).fold()
    context = EvalContext(crosscoder, store, None)
    whole = ReconstructionEval()(context)
    assert whole.meta["excluded"] == {"special": 12, "outlier": 0}
    crosscoder.provenance["exclude"] = ["special", "outlier"]
    result = ReconstructionEval()(context)
    assert result.meta["excluded"] == {"special": 12, "outlier": 6}
    assert (whole.meta["n_tokens"], result.meta["n_tokens"]) == (N - 12, N - 18)
    table = Analysis(n_resamples=3, n_blocks=2).make_table(crosscoder, store)
    assert table.meta["n_tokens"] == N - 18
    assert table.meta["excluded"] == {"special": 12, "outlier": 6}


def test_two_dictionaries_are_measured_on_the_same_tokens(store):
    base, chat = SOURCES.subset(["base"]), SOURCES.subset(["chat"])
    one, other = restrict_to_common_tokens((store, base), (store, chat), EXCLUDE)
    for of, sources in ((one, base), (other, chat)):
        assert sum(len(acts) for acts in read_acts(of, sources)) == N - 18
    assert sum(len(acts) for acts in read_acts(store, base, exclude=EXCLUDE)) == N - 12 - 3


def add_outliers(splits: Splits, folder: Path) -> Splits:
    """Copy the stores; 1 row in 100 gets 100 times the median norm in both sources."""
    made = []
    for part in ("train", "validation", "heldout"):
        store = getattr(splits, part)
        acts = {name: store.acts(0, [name]).clone() for name in store.sources.names}
        for x in acts.values():
            x[3::100] = (
                100 * x.norm(dim=1).median() * torch.nn.functional.normalize(x[3::100], dim=1)
            )
        copy = store_of(folder / part, acts, [len(store)])
        copy.meta["contrast"] = list(splits.sources.diff_pair or ())
        made.append(copy)
    return replace(splits, train=made[0], validation=made[1], heldout=made[2])


def train_and_measure(splits: Splits, folder: Path, *settings: str) -> float:
    """Train a crosscoder on these stores; return its FVE of the difference."""
    small = (
        "n_latents=48",
        "k=3",
        "batch_size=128",
        "train_tokens=40_000",
        "logger=none",
        "loss=[squared,auxk]",
    )
    recipe = instantiate(composed(*small, *settings, f"run={folder}").recipe, _convert_="all")
    crosscoder, _ = recipe.train(splits.train, splits.validation, splits.sources, folder)
    return ReconstructionEval()(EvalContext(crosscoder, splits.heldout, None)).scalars[
        "fve/difference"
    ]


@pytest.mark.long
def test_one_outlier_in_a_hundred_rows_is_harmless_by_default_and_reported_otherwise(
    planted_splits, tmp_path, caplog
):
    clean = train_and_measure(planted_splits, tmp_path / "clean")
    bad = add_outliers(planted_splits, tmp_path / "stores")
    assert not caplog.records
    assert train_and_measure(bad, tmp_path / "default") == pytest.approx(clean, abs=0.03)
    assert not caplog.records
    assert train_and_measure(bad, tmp_path / "all", "exclude=[special]") < clean - 0.2
    assert "exclude=[special,outlier] leaves them out" in caplog.text
