import json

from crosscoder.evals import Result


def test_a_result_comes_back_from_its_file(tmp_path):
    result = Result(
        "splice", {"kl/chat": 0.5}, {"rows": [{"rule": "x", "latents": 3}]}, {"n_tokens": 10}
    )
    path = result.save(tmp_path / "results")
    assert path == tmp_path / "results" / "splice.json"
    assert Result.load(path) == result
    assert set(json.loads(path.read_text())) == {"name", "scalars", "tables", "meta"}
