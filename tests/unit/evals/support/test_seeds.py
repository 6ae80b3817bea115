from crosscoder.evals import Result
from crosscoder.evals.support.seeds import summarise_seeds


def test_figures_that_all_crosscoders_have_are_summarised(tmp_path):
    results = {
        "R1": [
            Result("ablation", {"removed@4": 1.0, "only": 2.0}, {}, {"seconds": 3.0}),
            Result("splice", {"kl": 1.0}),
        ],
        "R2": [Result("ablation", {"removed@4": 0.5}, {}, {"seconds": 4.0})],
    }
    [result] = summarise_seeds(results)
    assert (result.name, result.scalars) == ("ablation_seeds", {"removed@4": 0.75})
    assert result.tables["range"] == [
        {"figure": "removed@4", "mean": 0.75, "lowest": 0.5, "highest": 1.0}
    ]
    assert result.meta == {"crosscoders": ["R1", "R2"], "seconds": 7.0}
    assert Result.load(result.save(tmp_path)) == result
