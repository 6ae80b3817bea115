"""Tables on disk: saved tables are read, and any other file is refused in one line."""

import json
import os
import stat

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from crosscoder.analysis.parquet import load_contexts, save_parquet
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from tests.helpers.spoiling import message_of, spoil_tables

COLUMNS = {
    "verdict": ["shared", "dead"],
    "dead": [False, True],
    "delta_norm": [0.5, np.nan],
    "expertise": [0.1, 0.2],
    "expertise/p": [0.1, 0.2],
    "expertise/holm": [0.1, 0.2],
    "tokens/base": [["a", "b"], []],
}
META = {
    "sources": ["base"],
    "contrast": ["chat", "base"],
    "hookpoints": {"base": "x"},
    "n_tokens": 3,
    "rule": {"a": 1},
}


def contexts(**changes) -> pd.DataFrame:
    columns = {
        "latent": [0, 1],
        "group": ["top plain", "top chat"],
        "kind": ["plain", "chat"],
        "document": [0, 3],
        "position": [4, 0],
        "peak": [1, 0],
        "tokens": [["a", "b"], ["c"]],
        "activations": [[0.0, 1.0], [2.0]],
    }
    return pd.DataFrame(columns | changes)


def test_a_saved_table_is_read(tmp_path):
    table = LatentTable.from_columns(COLUMNS, META | {"odd": float("nan")})
    before = os.umask(0o077)
    try:
        path = table.save(
            tmp_path / "k=3" / "latents.parquet"
        )  # no column k comes of that folder's name
    finally:
        os.umask(before)
    again = LatentTable.load(path)
    assert again.columns == table.columns
    assert again.meta == META | {"odd": None}
    assert again.prompt_contrasts == ["expertise"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["latents.parquet"]


def test_a_table_without_rows_is_read(tmp_path):
    path = save_parquet(contexts().head(0), tmp_path / "contexts.parquet", {})
    assert len(load_contexts(path)[0]) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"latent": [-1, 0]},
        {"peak": [2, 0]},
        {"peak": [-1, 0]},
        {"tokens": [["a"], ["c"]]},
        {"activations": [[0.0, np.inf], [2.0]]},
        {"activations": [[0.0, np.nan], [2.0]]},
        {"group": ["top plain", None]},
        {"tokens": ["ab", "c"]},
    ],
    ids=str,
)
def test_contexts_that_could_not_be_shown_are_refused(changes, tmp_path):
    path = save_parquet(contexts(**changes), tmp_path / "contexts.parquet", {})
    assert "contexts.parquet" in message_of(lambda: load_contexts(path))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 10, "folder", "pipe", None])
def test_a_file_that_is_no_table_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "latents.parquet"
    if content == "folder":
        path.mkdir()
    elif content == "pipe":
        os.mkfifo(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"latents\.parquet") as error:
        LatentTable.load(path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("load", [LatentTable.load, load_contexts])
def test_a_table_with_one_thing_wrong_is_read_or_refused_in_one_line(load, tmp_path):
    sound = tmp_path / "sound.parquet"
    if load is load_contexts:
        save_parquet(contexts(), sound, META)
    else:
        LatentTable.from_columns(COLUMNS, META).save(sound)
    outcomes = set()
    for what, table in spoil_tables(sound):
        pq.write_table(table, tmp_path / "spoilt.parquet")
        said = message_of(lambda: load(tmp_path / "spoilt.parquet"))
        assert len(said.splitlines()) <= 1, what
        assert len(said) < 600, what
        outcomes.add(bool(said))
    assert outcomes == {True, False}


def test_the_metadata_of_a_table_is_checked(tmp_path):
    path = LatentTable.from_columns(COLUMNS, META).save(tmp_path / "latents.parquet")
    table = pq.read_table(path)
    for text in (
        "[" * 100_000,
        json.dumps(META | {"contrast": ["chat"]}),
        '{"sources": "base"}',
        '{"odd": "\\ud800"}',
    ):
        pq.write_table(table.replace_schema_metadata({b"crosscoder": text.encode()}), path)
        assert "metadata" in message_of(lambda: LatentTable.load(path))


def test_a_column_of_an_old_name_is_read_with_one_warning(tmp_path, caplog):
    columns = COLUMNS | {"elsewhere": [0.1, np.nan]}
    path = LatentTable.from_columns(columns, META).save(tmp_path / "latents.parquet")
    table = LatentTable.load(path)
    assert "elsewhere" not in table.columns
    np.testing.assert_array_equal(table["max_cross_cosine"], [0.1, np.nan])
    (record,) = caplog.records
    assert "the column elsewhere is now called max_cross_cosine" in record.getMessage()


def test_a_column_that_has_its_new_name_already_is_not_renamed(tmp_path, caplog):
    columns = COLUMNS | {"elsewhere": [0.1, 0.2], "max_cross_cosine": [0.3, 0.4]}
    path = LatentTable.from_columns(columns, META).save(tmp_path / "latents.parquet")
    assert LatentTable.load(path).columns == ["latent", *columns]
    assert not caplog.records
