"""The whole table: swapped sources mirror it, and columns that do not apply are absent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.core.model import Crosscoder
from crosscoder.core.sources import Sources
from crosscoder.core.types import Kind
from crosscoder.data import Store
from crosscoder.errors import UserError
from tests.helpers.small import crosscoder_of, store_of
from tests.unit.analysis.analysed import analysed

MIRRORED = {"relative_norm": lambda x: 1 - x, "delta_norm": lambda x: 1 - x}
SWAP = {"chat": "base", "base": "chat"}


def swapped(crosscoder: Crosscoder) -> Crosscoder:
    """Return the crosscoder with base and chat exchanged."""
    width = crosscoder.sources.widths[0]
    other = Crosscoder(crosscoder.sources, crosscoder.n_latents, crosscoder.activation)
    state = crosscoder.state_dict()
    wide = ("W_enc", "W_dec", "b_dec", "mean", "scale")
    other.load_state_dict(
        {name: x.roll(width, -1) if name in wide else x for name, x in state.items()}
    )
    return other.eval()


class Swapped(Store):
    """A store with base and chat exchanged."""

    def acts(self, shard, names):
        return super().acts(shard, [SWAP[name] for name in names])


@pytest.mark.long
@given(seed=st.integers(0, 1000))
def test_swapping_the_sources_mirrors_every_column(seed, tmp_path_factory):
    small = analysed(tmp_path_factory.mktemp("store"), seed=seed)
    analysis = Analysis(n_blocks=8, n_resamples=20)
    table = analysis.make_table(small.crosscoder, small.store)
    mirror = analysis.make_table(swapped(small.crosscoder), Swapped(small.store.folder))
    assert set(table.columns) == set(mirror.columns)
    for column in table.columns:
        by_kind = column.startswith(
            ("density/", "difference_share/")
        )  # there, chat is a kind of tokens
        there = mirror[
            column if by_kind else "/".join(SWAP.get(part, part) for part in column.split("/"))
        ]
        if table[column].dtype == object or table[column].dtype.kind in "OUT":
            renamed = [
                str(v).replace("chat", "?").replace("base", "chat").replace("?", "base")
                for v in there
            ]
            assert list(map(str, table[column])) == renamed, column
        else:
            expected = MIRRORED.get(column, lambda x: x)(there)
            if column.startswith("nu/"):  # a quotient near a pole is all rounding
                expected, here = np.clip(expected, -10, 10), np.clip(table[column], -10, 10)
            else:
                here = table[column]
            np.testing.assert_allclose(here, expected, rtol=5e-3, atol=2e-4, err_msg=column)


def test_three_sources_have_a_norm_each_and_the_compared_pair_its_columns(tmp_path):
    table = analysed(tmp_path, (6, 6, 5)).table()
    assert {"norm/base", "norm/chat", "norm/third", "cosine", "verdict"} <= set(table.columns)
    assert table.meta["sources"] == ["base", "chat", "third"]


def test_one_source_has_activity_and_norms_only(tmp_path):
    table = analysed(tmp_path, (6,)).table()
    assert {"norm/base", "density", "max"} <= set(table.columns)
    assert not {"verdict", "delta_norm", "cosine", "difference_share", "twin"} & set(table.columns)


def test_sources_of_unequal_width_have_norm_ratios_but_no_angles(tmp_path):
    table = analysed(tmp_path, (6, 7)).table()
    assert {"delta_norm", "category/minder2025"} <= set(table.columns)
    assert not {"verdict", "cosine", "difference_share", "nu/error/chat"} & set(table.columns)


def test_the_pass_stops_at_n_tokens(tmp_path):
    small = analysed(tmp_path)
    table = small.table(n_tokens=100)
    assert table.meta["n_tokens"] == 100
    np.testing.assert_array_equal(table["n_active"], (small.f[:100] > 0).sum(0))


def test_activity_by_kind_and_position_is_of_ordinary_tokens(tmp_path):
    small = analysed(tmp_path)
    table = small.table()
    active = small.f > 0
    np.testing.assert_array_equal(table["n_active"], active.sum(0))
    np.testing.assert_allclose(
        table["mean_active"], small.f.sum(0) / active.sum(0).clamp(min=1), rtol=1e-5
    )
    for latent in np.flatnonzero(table["n_active"] > 1)[:10]:
        f = small.f[active[:, latent], latent]
        assert table["spread"][latent] == pytest.approx(
            float(f.std(correction=0) / f.mean()), abs=1e-4
        )
    np.testing.assert_allclose(table["max"], small.f.amax(0), rtol=1e-5)
    for number, kind in ((Kind.PLAIN, "plain"), (Kind.CHAT, "chat"), (Kind.TEMPLATE, "template")):
        np.testing.assert_allclose(
            table[f"density/{kind}"], active[small.kind == number].double().mean(0), rtol=1e-5
        )
    template = small.f[small.kind == Kind.TEMPLATE].sum(0) / small.f.sum(0).clamp(min=1e-30)
    np.testing.assert_allclose(table["template_share"], template, rtol=1e-5)
    np.testing.assert_allclose(
        table["position/0-3"], (~table["dead"]).astype(float)
    )  # this store's positions are all 0
    bins = [name for name in table.columns if name.startswith("histogram/")]
    np.testing.assert_array_equal(sum(table[name] for name in bins), table["n_active"])
    for name in bins:
        low = float(name.partition("/")[2])
        # names have three digits; no activation of this store is that close to an edge
        is_in_bin = (small.f >= low) & (small.f < low * 2**0.5)
        assert abs(is_in_bin.sum(0).numpy() - table[name]).max() <= 1


def test_a_store_of_special_tokens_only_is_refused(tmp_path):
    acts = {"base": torch.randn(20, 6), "chat": torch.randn(20, 6)}
    store = store_of(tmp_path, acts, [20], torch.full((20,), Kind.SPECIAL))
    with pytest.raises(UserError, match="no token to analyse"):
        Analysis().make_table(crosscoder_of(TopK(5)).fold(), store)


def test_a_saved_table_is_loaded_unchanged(tmp_path):
    table = analysed(tmp_path / "store").table()
    loaded = LatentTable.load(table.save(tmp_path / "latents.parquet"))
    assert loaded.meta == table.meta
    assert loaded.frame.equals(table.frame)


def test_queries_select_rows_and_orders_sort_them(tmp_path):
    table = analysed(tmp_path).table()
    assert set(table.query("n_active > 50 and `norm/chat` > 1")["latent"]) == set(
        np.flatnonzero((table["n_active"] > 50) & (table["norm/chat"] > 1))
    )
    energy = table.sort("difference_energy")["difference_energy"]
    assert (np.diff(energy) <= 0).all()
    assert len(table.top("cosine", 5, ascending=True)) == 5
    rank = table.rank("difference_energy")
    assert rank[int(table.top("difference_energy", 1)["latent"][0])] == 1
    with pytest.raises(UserError, match="nonsense"):
        table.query("nonsense > 1")
    with pytest.raises(UserError, match="no column 'nonsense'"):
        table.sort("nonsense")


def test_chat_specific_features_are_found_by_norm_or_by_verdict(tmp_path):
    table = analysed(tmp_path).table()
    by_norm = table.find_chat_specific_features(threshold=0.55)
    assert set(by_norm["latent"]) == set(
        np.flatnonzero((table["delta_norm"] > 0.55) & ~table["dead"])
    )
    assert (np.diff(by_norm["difference_energy"]) <= 0).all()
    by_verdict = table.find_chat_specific_features()
    assert (by_verdict["verdict"] == "chat-specific").all()


def test_sources_keep_their_own_names(tmp_path):
    small = analysed(tmp_path)
    exchanged = Sources(
        tuple(small.crosscoder.sources.items), ("base", "chat")
    )  # base is compared with chat
    small.crosscoder.sources = exchanged
    table = small.table()
    assert set(table["category/lindsey2024"]) <= {"base-only", "chat-only", "shared", "other"}
    np.testing.assert_allclose(table["delta_norm"] > 0.5, table["norm/base"] > table["norm/chat"])
