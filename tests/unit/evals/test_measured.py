"""Columns that evals measure for some latents join the table, in any order of the evals."""

import numpy as np
import pytest

from crosscoder.analysis.table import LatentTable
from crosscoder.evals.base import Result
from crosscoder.evals.support.measured import TABLE, join_measured_columns

META = {"crosscoder_sha256": "a"}


def make_result(sha256: str = "a", value: float = 0.5) -> Result:
    rows = [{"latent": 2, "causal_equivalence": value}, {"latent": 0, "causal_equivalence": None}]
    return Result("equivalence", {}, {TABLE: rows}, {"crosscoder_sha256": sha256})


def make_table() -> LatentTable:
    return LatentTable.from_columns({"density": [0.1, 0.2, 0.3]}, META)


@pytest.mark.parametrize("is_table_first", [True, False])
def test_columns_join_whichever_is_saved_first(tmp_path, is_table_first):
    path = tmp_path / "latents.parquet"
    if is_table_first:
        make_table().save(path)
    make_result().save(tmp_path)
    join_measured_columns(tmp_path)
    if not is_table_first:
        make_table().save(path)
        join_measured_columns(tmp_path)
    column = LatentTable.load(path)["causal_equivalence"]
    np.testing.assert_array_equal(column, [np.nan, np.nan, 0.5])


def test_results_of_another_crosscoder_are_left_out(tmp_path):
    make_table().save(tmp_path / "latents.parquet")
    make_result("another").save(tmp_path)
    join_measured_columns(tmp_path)
    assert "causal_equivalence" not in LatentTable.load(tmp_path / "latents.parquet").columns


def test_the_table_is_written_only_if_a_column_changes(tmp_path, monkeypatch):
    path = tmp_path / "latents.parquet"
    make_table().save(path)
    make_result().save(tmp_path)
    saved = []
    save = LatentTable.save
    monkeypatch.setattr(
        LatentTable, "save", lambda table, path: saved.append(path) or save(table, path)
    )
    join_measured_columns(tmp_path)
    join_measured_columns(tmp_path)
    assert saved == [path]
    make_result(value=0.25).save(tmp_path)
    join_measured_columns(tmp_path)
    assert saved == [path, path]
    assert LatentTable.load(path)["causal_equivalence"][2] == 0.25
