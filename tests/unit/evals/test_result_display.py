"""A result prints its figures, tables and what it lacks."""

from crosscoder.evals.base import Result


def test_a_result_prints_as_a_few_lines():
    scalars = {f"fve/{number}": number / 7 for number in range(30)}
    tables = {"by energy": [{"latent": 1}, {"latent": 2}]}
    meta = {"left_out": {"lens": "no \x1b model"}}
    shown = repr(Result("diff", scalars, tables, meta, {"latents.parquet": None}))
    lines = shown.splitlines()
    assert lines[0] == "Result 'diff': 30 figures"
    assert "  fve/3  0.4286" in lines
    assert "  … and 10 more in .scalars" in lines
    assert "  table 'by energy' of 2 rows" in lines
    assert "  file latents.parquet" in lines
    assert "  left out: lens, no " in shown
    assert "\x1b" not in shown
    assert len(lines) == 25


def test_a_result_with_a_missing_figure_prints():
    assert "fve  –" in repr(Result("x", {"fve": float("nan")}))
