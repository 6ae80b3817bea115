"""Columns of the table are chosen in conf/: defaults, other choices, and invalid choices."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hydra.utils import instantiate

from crosscoder.analysis.analysis import Analysis
from crosscoder.analysis.base import Batch, ColumnNeeds, ComputedColumn, StreamedColumn
from crosscoder.analysis.columns.norms import Norms
from crosscoder.analysis.columns.verdict import Verdict
from crosscoder.errors import UserError
from tests.helpers.configs import composed
from tests.unit.analysis.analysed import analysed


def analysis_of(*overrides: str, config: str = "evaluate") -> Analysis:
    return instantiate(composed(*overrides, config=config).analysis, _convert_="all")


@pytest.mark.parametrize("config", ["train", "evaluate"])
def test_the_default_columns_are_those_of_conf_in_their_order(config):
    from_conf = analysis_of(config=config).columns
    assert from_conf == Analysis().columns
    assert list(from_conf) == list(Analysis().columns)


def test_columns_stand_in_the_order_of_the_list(tmp_path):
    columns = analysis_of("column=[activity,norms]").columns
    table = analysed(tmp_path).table(columns=columns)
    assert table.columns[:3] == ["latent", "dead", "n_active"]
    assert table.columns.index("max") < table.columns.index("norm/base")
    assert "verdict" not in table.columns


def test_a_column_whose_needs_are_not_chosen_is_refused():
    with pytest.raises(UserError, match="verdict is computed from activity and scaling and twins"):
        Analysis(columns={"verdict": Verdict(), "norms": Norms()})


def test_no_columns_are_refused():
    with pytest.raises(UserError, match="at least one column"):
        Analysis(columns={})


class Ones:
    def update(self, batch: Batch) -> None:
        pass

    def columns(self) -> Mapping[str, Any]:
        return {"one": np.ones(40)}


@dataclass(frozen=True)
class One(StreamedColumn):
    needs: ClassVar[ColumnNeeds] = ColumnNeeds(comparable_pair=True)

    def start(self, context):
        return Ones()


@dataclass(frozen=True)
class Two(ComputedColumn):
    needs: ClassVar[ColumnNeeds] = ColumnNeeds(columns=("one",))

    def compute(self, context, table):
        return {"two": 2 * table["one"]}


@dataclass(frozen=True)
class Four(ComputedColumn):
    needs: ClassVar[ColumnNeeds] = ColumnNeeds(columns=("two",))

    def compute(self, context, table):
        return {"four": 2 * table["two"]}


def test_columns_are_computed_after_those_that_they_need(tmp_path):
    columns = {"four": Four(), "two": Two(), "one": One()}
    table = analysed(tmp_path).table(columns=columns)
    assert table.columns == ["latent", "four", "two", "one"]
    assert (table["four"] == 4).all()


def test_columns_that_a_crosscoder_cannot_have_are_left_out_with_those_that_need_them(tmp_path):
    columns = {"four": Four(), "two": Two(), "one": One(), "norms": Norms()}
    table = analysed(tmp_path, (6, 7)).table(columns=columns)
    assert not {"one", "two", "four"} & set(table.columns)
    assert "norm/base" in table.columns


def test_columns_that_need_each_other_are_refused(tmp_path):
    @dataclass(frozen=True)
    class Loop(ComputedColumn):
        needs: ClassVar[ColumnNeeds] = ColumnNeeds(columns=("other",))

    @dataclass(frozen=True)
    class Other(ComputedColumn):
        needs: ClassVar[ColumnNeeds] = ColumnNeeds(columns=("loop",))

    with pytest.raises(UserError, match="computed from each other"):
        Analysis(columns={"loop": Loop(), "other": Other()})
