"""Every benchmark, at sizes that say nothing, gives the rows it promises."""

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu

PROJECT = Path(__file__).parents[2]
SMALL = ["--width", "8", "--k", "2"]
CASES = {
    "train_step": (
        [*SMALL, "--n-latents", "64", "--batch", "32", "--turns", "1", "--steps", "1"],
        {
            "n_latents",
            "ours_ms",
            "dense_ms",
            "floor_ms",
            "dense_over_ours",
            "ours_over_floor",
            "clip_ms",
        },
    ),
    "growth": (
        ["--axes", "k", "--width", "8", "--n-latents", "256", "--batch", "32", "--steps", "1"],
        {"axis", "values", "ms", "slope", "last_over_first"},
    ),
    "memory": (
        [*SMALL, "--n-latents", "64", "--batch", "32", "--steps", "1"],
        {"n_latents", "peak_mb", "unavoidable_mb", "peak_over_unavoidable"},
    ),
    "loading": (
        [*SMALL, "--n-latents", "64", "--batch", "32", "--n-tokens", "300", "--buffer", "100"],
        {
            "n_tokens",
            "peak_mb",
            "each_token_once",
            "loader_tokens_per_second",
            "loader_over_training",
        },
    ),
    "scaling": (
        [*SMALL, "--n-latents", "64", "--n-tokens", "600"],
        {
            "n_tokens",
            "n_latents",
            "scaling_seconds",
            "scaling_peak_mb",
            "table_seconds",
            "table_peak_mb",
        },
    ),
    "end_to_end": (
        [*SMALL, "--n-latents", "64", "--batch", "32", "--length", "2", "--turns", "2"],
        {"n_latents", "fit_tokens_per_second", "bare_tokens_per_second", "fit_over_bare"},
    ),
    "harvest": (
        ["--models", "tiny", "--hookpoints", "resid_post.1", "--n-tokens", "8192", "--turns", "1"],
        {"hookpoints", "harvest_tokens_per_second", "bare_tokens_per_second", "ours_over_bare"},
    ),
}


def run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


TINY = [
    "models=tiny",
    "n_tokens=4000",
    "n_validation=1000",
    "n_heldout=1000",
    "train_tokens=8000",
    "batch_size=256",
    "n_latents=32",
    "k=3",
]
PLANTED = ["data.width=16", "n_latents=32", "k=3", "batch_size=128"]
OF_SEVERAL_ROWS = {
    "compact": (
        ["--settings", *TINY, "--seeds", "0"],
        {"storage", "mb", "lost/base", "lost/difference", "fve/chat"},
        2,
    ),
    "soak": (
        ["--minutes", "0.05", "--every", "0.5"],
        {"what", "first", "last", "grown_by", "at_most"},
        4,
    ),
    "plan": ([], {"what", "figure", "unit", "from"}, 18),
    # tests/distributed compares runs of two and four processes
    "processes": (
        ["--processes", "1", "--train-tokens", "6000", "--settings", *PLANTED],
        {"processes", "tokens_per_second", "over_one", "one_process", "loss_apart_at_most"},
        2,
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in ("processes", "compact") else ())
        for name in OF_SEVERAL_ROWS
    ],
)
def test_a_benchmark_of_several_rows_writes_them(name, tmp_path):
    arguments, keys, n = OF_SEVERAL_ROWS[name]
    run(f"benchmarks.{name}", *arguments, "--json", str(tmp_path / f"{name}.json"))
    rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert len(rows) == n
    assert all(keys == row.keys() & keys for row in rows)


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_writes_its_rows(name, tmp_path):
    arguments, keys = CASES[name]
    run(f"benchmarks.{name}", *arguments, "--json", str(tmp_path / f"{name}.json"))
    (row,) = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
    assert keys <= row.keys()
    assert all(
        math.isfinite(value) and value > 0
        for key, value in row.items()
        if key.endswith(("_ms", "_mb", "_second"))
    )
    assert row.get("each_token_once", True) is True


@pytest.mark.long
def test_the_run_for_a_gpu_works_without_one(tmp_path):
    run("benchmarks.gpu", "--tiny", "--device", "cpu", "--minutes", "80", "--out", str(tmp_path))
    written = json.loads((tmp_path / "gpu.json").read_text())
    outcomes = {part["part"]: part["outcome"] for part in written["parts"]}
    assert set(outcomes.values()) <= {"passed", "left out"}
    assert {name for name, outcome in outcomes.items() if outcome == "left out"} <= {
        f"step.{size}.{name}"
        for size in ("default", "large-2048", "large-4096")
        for name in ("sparsify", "sae_lens")
    }
    measured = {(row["size"], row["step"]) for row in written["rows"]}
    assert {("large-4096", "ours"), ("default", "compiled"), ("large-2048", "floor")} <= measured
    for row in written["rows"]:
        assert row["ms"] > 0
        assert row["peak_mb"] > 0
    assert "aten::" in (tmp_path / "profile.default.txt").read_text()
    assert json.loads((tmp_path / "tests.json").read_text())["tests"] > 0


def test_a_part_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch):
    arguments = argparse.Namespace(out=tmp_path, device="cpu", tiny=True, minutes=80.0, part=None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--tiny", "--device", "cpu"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", gpu.__spec__)
    parts = [gpu.Part("step.default.unknown", 60), gpu.Part("step.default.floor", 60)]
    monkeypatch.setattr(gpu, "list_parts", lambda: parts)
    assert gpu.run_all(arguments) == 1
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert [part["outcome"] for part in written["parts"]] == ["failed", "passed"]
    assert [row["step"] for row in written["rows"]] == ["floor"]
    assert "KeyError: 'unknown'" in (tmp_path / "step.default.unknown.log").read_text()


def test_a_part_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    arguments = argparse.Namespace(out=tmp_path, device="cpu", tiny=True, minutes=8.0, part=None)
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path), "--tiny", "--device", "cpu"])
    outcome = gpu.start(gpu.Part("step.default.ours", 0.2), time.monotonic() + 60, arguments)
    assert outcome["outcome"] == "out of time"


def test_recovery_judges_variants_on_a_world_and_goes_on_with_what_it_has(tmp_path):
    sizes = [
        "--seeds",
        "1",
        "--steps",
        "4",
        "--n-latents",
        "64",
        "--tokens",
        "4000",
        "--runs",
        str(tmp_path / "runs"),
    ]
    arguments = [
        "--worlds",
        "easy",
        "--variants",
        "ours",
        "minder2025_batchtopk",
        *sizes,
        "--json",
        str(tmp_path / "r.json"),
    ]
    run("benchmarks.recovery", *arguments)
    first = json.loads((tmp_path / "r.json").read_text())
    learnt, called, compared = first["tables"].values()
    assert (
        [row["variant"] for row in learnt]
        == [row["variant"] for row in called]
        == ["ours", "minder2025_batchtopk"]
    )
    assert {"L0", "MCC", "FVE difference"} <= learnt[0].keys()
    assert {"AP", "F1", "F1, verdict", "F1, Δ > 0.9"} <= called[0].keys()
    fve = {row["variant"]: row["fve/difference"] for row in first["runs"]}
    (row,) = compared
    assert float(row["FVE difference"]) == pytest.approx(
        fve["ours"] - fve["minder2025_batchtopk"], abs=1e-3
    )
    trained = {
        path: path.stat().st_mtime for path in (tmp_path / "runs").rglob("model.safetensors")
    }
    run("benchmarks.recovery", *arguments)
    assert {path: path.stat().st_mtime for path in trained} == trained
    assert json.loads((tmp_path / "r.json").read_text())["tables"] == first["tables"]


def test_figures_are_put_into_a_document(tmp_path):
    arguments, _ = CASES["memory"]
    run("benchmarks.memory", *arguments, "--json", str(tmp_path / "memory.json"))
    document = tmp_path / "page.md"
    document.write_text("before\n<!-- memory -->\nold\n<!-- end of memory -->\nafter\n")
    run("benchmarks.document", str(tmp_path), str(document))
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- memory -->\n`python -m benchmarks.memory")
    assert text.endswith("<!-- end of memory -->\nafter\n")


def test_a_document_may_name_the_tables_that_it_shows(tmp_path):
    tables = {"found": [{"rank": 1}], "removed": [{"share": 0.5}]}
    found = {"command": "python -m benchmarks.x", "machine": "2 threads", "tables": tables}
    (tmp_path / "x.json").write_text(json.dumps(found))
    document = tmp_path / "page.md"
    document.write_text("<!-- x: removed -->\nold\n<!-- end of x -->\n")
    run("benchmarks.document", str(tmp_path), str(document))
    text = document.read_text()
    assert "**removed**" in text
    assert "**found**" not in text
    assert text.startswith("<!-- x: removed -->\n")
