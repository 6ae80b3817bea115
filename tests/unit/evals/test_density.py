import pytest

from crosscoder.evals.density import DensityEval


def test_density_is_the_median_of_each_class(planted_context):
    result = DensityEval()(planted_context)
    table = planted_context.latent_table
    for name in ("chat-specific", "shared"):
        median = float(table.frame[table["verdict"] == name]["density"].median())
        assert result.scalars[f"density/{name.replace('-', '_')}"] == pytest.approx(median)
    assert result.scalars["density_ratio/shared"] == 1
    rows = [row for row in result.tables["classes"] if row["by"] == "verdict"]
    assert sum(row["latents"] for row in rows) == int((~table["dead"]).sum())
