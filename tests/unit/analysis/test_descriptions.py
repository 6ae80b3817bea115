"""Every column that conf/column and the evals write is described, in code and in the document."""

from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import latent_table
from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.descriptions import DESCRIPTIONS, find_description
from crosscoder.analysis.schema import KNOWN_KINDS
from crosscoder.analysis.table import LatentTable
from crosscoder.errors import UserError
from tests.helpers.configs import composed
from tests.unit.analysis.analysed import analysed

GROUPS = sorted(path.stem for path in Path("conf/column").glob("*.yaml"))


def columns_of_conf():
    names = ",".join(GROUPS)
    analysis = instantiate(
        composed(f"column=[{names}]", config="evaluate").analysis, _convert_="all"
    )
    return dict(analysis.columns)


def needed(columns, name: str) -> list[str]:
    """Return a group of columns and all that it is computed from."""
    graph = {}
    names = [name]
    while names:
        current = names.pop()
        graph[current] = columns[current].needs.columns
        names += graph[current]
    return list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("group", GROUPS)
def test_every_column_of_conf_is_described_as_written_by_its_group(group, tmp_path):
    columns = columns_of_conf()
    names = needed(columns, group)
    table = analysed(tmp_path).table(columns={name: columns[name] for name in names})
    written_by = {}
    for column in table.columns:
        described = find_description(column, table.columns)
        assert described is not None, f"describe {column} in crosscoder/analysis/descriptions.py"
        written_by.setdefault(described.written_by, []).append(column)
    assert set(written_by) == {"every table", *names}


def test_described_columns_of_conf_are_written(tmp_path):
    table = analysed(tmp_path).table(columns=columns_of_conf())
    found = {find_description(column, table.columns).name for column in table.columns}
    expected = {row.name for row in DESCRIPTIONS if not row.written_by.startswith("eval")}
    assert found == expected


def test_columns_of_the_diff_eval_are_described():
    columns = ["latent", "expertise", "expertise/p", "expertise/holm", "tokens/chat"]
    columns += ["tokens/difference", "jacobian_tokens/base", "jacobian_tokens/difference"]
    for column in columns[1:]:
        assert find_description(column, columns).written_by == "eval diff"
    assert find_description("tokens/difference", columns).name == "tokens/difference"


def test_a_column_of_ones_own_has_no_description():
    assert find_description("weight", ["latent", "weight"]) is None
    assert find_description("norm/base/low", ["norm/base/low"]) is None
    assert find_description("weight/p", ["latent", "weight/p"]) is None


@given(st.sampled_from(DESCRIPTIONS), st.text("abc-_.", min_size=1))
def test_a_description_matches_its_name_with_other_words(described, word):
    parts = described.name.split("/")
    column = "/".join(word if part.startswith("<") else part for part in parts)
    assert described.matches(column)
    assert not described.matches(f"{column}/more")


def test_descriptions_are_complete_and_distinct():
    names = [described.name for described in DESCRIPTIONS]
    assert len(set(names)) == len(names)
    for described in DESCRIPTIONS:
        assert described.meaning.endswith(".")
        is_of_eval = described.written_by.startswith("eval")
        assert is_of_eval or described.written_by in {"every table", *GROUPS}
    assert KNOWN_KINDS["norm"] == "numbers"


def test_the_document_is_made_from_the_descriptions():
    written = latent_table.DOCUMENT.read_text(encoding="utf-8")
    assert written == latent_table.make_document()


def test_describe_has_a_row_per_column(tmp_path):
    table = analysed(tmp_path).table().with_columns({"mine": np.zeros(40)})
    described = table.describe()
    assert list(described.index) == table.columns
    assert described.loc["delta_norm", "unit"] == "fraction, 0 to 1"
    assert described.loc["nu/error/chat/low", "written_by"] == "scaling"
    assert described.loc["mine", "meaning"] == ""
    assert (described.drop("mine")["meaning"] != "").all()


# --- what a table shows ---


def test_a_table_shows_its_rows_verdicts_and_key_columns(tmp_path):
    table = analysed(tmp_path).table()
    shown = repr(table)
    assert f"40 rows × {len(table.columns)} columns" in shown
    for verdict in set(table["verdict"]):
        assert f"{(table['verdict'] == verdict).sum()} {verdict}" in shown
    for column in ("verdict", "delta_norm", "density"):
        assert column in shown
    assert "beta/" not in shown
    assert len(shown.splitlines()) < 20


def test_a_table_shows_the_columns_that_were_asked_about(tmp_path):
    table = analysed(tmp_path).table()
    chosen = table.query("density > 0 and `norm/base` > 0").top("supported/chat", 3)
    for column in ("norm/base", "supported/chat"):
        assert column not in repr(table)
        assert column in repr(chosen)
        assert column in chosen._repr_html_()
    assert "3 rows" in repr(chosen)


def test_foreign_text_in_a_table_is_escaped():
    table = LatentTable.from_columns({"verdict": ["<b>\x1b[31m"], "density": [1.0]}, {})
    assert "\x1b" not in repr(table)
    assert "<b>" not in table._repr_html_()


def test_a_table_without_key_columns_shows_its_first_ones():
    table = LatentTable.from_columns({"difference": [0.5], "p": [0.01]}, {})
    assert "difference" in repr(table)
    assert "0.01" in repr(table)


# --- arguments ---


def test_invalid_arguments_of_a_table_are_refused(unchecked):
    table = LatentTable.from_columns({"density": [0.1, 0.2]}, {})
    with pytest.raises(UserError, match="n is a whole number from 1, not 0"):
        table.top("density", 0)
    with pytest.raises(UserError, match="no column 'max'; it has latent, density"):
        table.top("max")
    with pytest.raises(UserError, match="ascending is true or false, not 'yes'"):
        table.sort("density", "yes")
    with pytest.raises(UserError, match="a condition is a text"):
        table.query(True)
    with pytest.raises(UserError, match="'x' has 3 entries, but the table has 2 rows"):
        table.with_columns({"x": [1, 2, 3]})
    with pytest.raises(UserError, match="compares no two sources"):
        table.find_chat_specific_features()
    with pytest.raises(UserError, match="frame is a pandas DataFrame"):
        LatentTable("latents.parquet")


def test_analysis_settings_are_refused_by_type(unchecked):
    with pytest.raises(UserError, match=r"analysis\.seed is a whole number from 0, not 'x'"):
        Analysis(seed="x")
