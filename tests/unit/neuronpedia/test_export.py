"""The export for Neuronpedia, read line by line as its import reads it."""

import gzip
import json
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from crosscoder.analysis.columns.lens import compute_logits
from crosscoder.analysis.parquet import save_parquet
from crosscoder.analysis.table import LatentTable
from crosscoder.core.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats import __main__ as formats
from crosscoder.io.run_dir import Run
from crosscoder.lm import Pair
from crosscoder.neuronpedia.content import read_content
from crosscoder.neuronpedia.export import export_run
from crosscoder.neuronpedia.files import BATCH_SIZE
from crosscoder.neuronpedia.naming import Naming, make_slug, name_sources
from crosscoder.neuronpedia.source_writer import SourceWriter
from crosscoder.report.current import find_crosscoder_sha256
from tests.helpers.small import crosscoder_of
from tests.unit.neuronpedia.published import find_faults

N_LATENTS = BATCH_SIZE + 6
SILENT = 3  # writes nothing into base
LABELLED = (0, 5, BATCH_SIZE + 1)
NAMING = Naming("tiny-diff")
CHAT = "chat/1-tiny-diff-resid-post"
BASE = "base/1-tiny-diff-resid-post"
LMS = {"base": {"seed": 0}, "chat": {"seed": 0, "drift": 0.1}}


def write_run(folder: Path, n: int = 16, has_contexts: bool = True, has_labels: bool = True) -> Run:
    """Write a run of the tiny pair with `n` latents, and contexts of the even ones."""
    made = crosscoder_of(TopK(4), widths=(32, 32), n_latents=n)
    with torch.no_grad():
        made.W_dec[SILENT, :32] = 0
    lms = {name: {"d_model": 32, "n_layers": 2} | lm for name, lm in LMS.items()}
    made.provenance["pair"] = {"lms": lms, "layer": 1, "contrast": ["chat", "base"]}
    run = Run(folder)
    made.save_pretrained(run.crosscoder)
    rng = np.random.default_rng(0)
    columns = {"density": rng.uniform(0, 0.1, n), "max": rng.uniform(1, 9, n)}
    if has_labels:
        labels = np.full(n, "", dtype=object)
        for latent in LABELLED:
            labels[latent % n] = f"about {latent}"
        columns["label"] = labels
        columns["label_score/detection"] = np.where(labels != "", 0.75, np.nan)
    meta = {"sources": ["base", "chat"], "contrast": ["chat", "base"]}
    meta["crosscoder_sha256"] = find_crosscoder_sha256(run)
    LatentTable.from_columns(columns, meta).save(run.table_path("latents"))
    if has_contexts:
        save_parquet(make_contexts(n, rng), run.table_path("contexts"), meta)
    return run


def make_contexts(n: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for latent in range(0, n, 2):
        for number in range(2):
            values = rng.uniform(0, 5, 6).round(2)
            row = {"latent": latent, "group": "top chat", "kind": "chat", "document": number}
            row |= {"position": 9, "peak": int(values.argmax())}
            row["tokens"] = ["Ġthe", "Ċ", "a", "Ã©", "<bos>", "Ġto"]
            row["activations"] = values.tolist()
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("run") / "tiny-diff", N_LATENTS)


@pytest.fixture
def small(tmp_path) -> Run:
    return write_run(tmp_path / "runs" / "tiny-diff")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("there") / "export"
    export_run(run.folder, folder, NAMING)
    return folder


def read_rows(place: Path) -> list[dict]:
    """Read a file of lines, or all batches of a folder in order."""
    if place.is_file():
        return [json.loads(line) for line in place.read_text().splitlines()]
    rows = []
    for number in range(len(list(place.iterdir()))):
        with gzip.open(place / f"batch-{number}.jsonl.gz", "rt", encoding="utf-8") as file:
            rows += [json.loads(line) for line in file]
    return rows


# --- the layout ---


@pytest.mark.parametrize("source", [CHAT, BASE])
@pytest.mark.parametrize(
    "table",
    ["model", "release", "sourceset", "source", "features", "activations", "explanations"],
)
def test_every_line_is_accepted_by_the_published_schema(exported, source, table):
    folder = exported / source
    path = folder / table if (folder / table).is_dir() else folder / f"{table}.jsonl"
    rows = read_rows(path)
    assert rows
    for row in rows:
        assert find_faults(table, row) == []
    # the import takes the columns of all lines from the first
    assert len({tuple(row) for row in rows}) == 1


def test_rows_refer_to_rows_that_exist(exported):
    ids = []
    for source in (CHAT, BASE):
        folder = exported / source
        model, release, source_set, one = (
            read_rows(folder / f"{name}.jsonl")[0]
            for name in ("model", "release", "sourceset", "source")
        )
        assert source == f"{model['id']}/{one['id']}"
        assert source_set["modelId"] == one["modelId"] == model["id"]
        assert one["setName"] == source_set["name"]
        assert one["id"].partition("-")[2] == source_set["name"]
        assert source_set["releaseName"] == release["name"]
        assert re.fullmatch(r"[a-zA-Z0-9\-_]+", model["id"])
        for table in ("features", "activations", "explanations"):
            rows = read_rows(folder / table)
            assert {(row["modelId"], row["layer"]) for row in rows} == {(model["id"], one["id"])}
            ids += [row["id"] for row in rows if "id" in row]
    assert len(set(ids)) == len(ids)


def test_models_have_the_sizes_of_the_language_models(exported):
    model = read_rows(exported / CHAT / "model.jsonl")[0]
    assert (model["dimension"], model["layers"], model["neuronsPerLayer"]) == (32, 2, 64)
    assert model["instruct"] is True


def test_batches_hold_1024_latents(exported):
    for source in (CHAT, BASE):
        counts = Counter()
        for path in sorted((exported / source).glob("*/*.gz")):
            with gzip.open(path, "rt") as file:
                indices = [int(json.loads(line)["index"]) for line in file]
            assert {index // BATCH_SIZE for index in indices} == {int(path.stem[6:-6])}
            counts[path.parent.name] += len(indices)
        n_matches = N_LATENTS - (source == BASE)
        n_contexts = N_LATENTS  # two for each even latent
        expected = {"features": N_LATENTS, "activations": n_contexts, "explanations": 3}
        assert counts == expected | {"matches": n_matches}


# --- the content ---


@pytest.mark.parametrize(("source", "name"), [(CHAT, "chat"), (BASE, "base")])
def test_features_have_decoder_density_and_largest_activation(run, exported, source, name):
    content = read_content(run.folder)
    rows = read_rows(exported / source / "features")
    assert [int(row["index"]) for row in rows] == list(range(N_LATENTS))
    vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
    assert np.array_equal(vectors, content.crosscoder.decoder(name).detach().numpy())
    assert [row["frac_nonzero"] for row in rows] == content.table["density"].tolist()
    assert [row["maxActApprox"] for row in rows] == content.table["max"].tolist()
    assert {row["hookName"] for row in rows} == {"blocks.1.hook_resid_post"}
    assert all(row["hasVector"] for row in rows)


@pytest.mark.parametrize(("source", "name"), [(CHAT, "chat"), (BASE, "base")])
def test_promoted_and_suppressed_tokens_are_the_ends_of_the_logits(run, exported, source, name):
    content = read_content(run.folder)
    pair = content.pair
    assert isinstance(pair, Pair)
    rows = read_rows(exported / source / "features")
    for latent in (0, 17, BATCH_SIZE + 2):
        direction = content.crosscoder.decoder(name)[latent : latent + 1].detach()
        logits = compute_logits(pair[name], direction)[0].float().numpy()
        order = np.argsort(-logits, kind="stable")
        row = rows[latent]
        assert row["pos_values"] == pytest.approx(logits[order[:10]].tolist(), abs=1e-2)
        assert row["neg_values"] == pytest.approx(logits[order[::-1][:10]].tolist(), abs=1e-2)
        words = pair.tokenizers[name].convert_ids_to_tokens(int(order[0]))
        assert row["pos_str"][0] in (words.replace("Ġ", " "), "\n", "�") or len(words) > 1
        heights = row["logits_hist_data_bar_heights"]
        counts, edges = np.histogram(logits, len(heights))
        assert sum(heights) == len(logits)
        assert np.abs(np.array(heights) - counts).sum() <= 0.02 * len(logits)
        middles = (edges[1:] + edges[:-1]) / 2
        assert row["logits_hist_data_bar_values"] == pytest.approx(middles.tolist(), abs=1e-2)


def test_a_latent_that_writes_nothing_names_no_tokens_and_has_no_neighbours(exported):
    row = read_rows(exported / BASE / "features")[SILENT]
    for column in ("pos_str", "neg_values", "topkCosSimIndices", "logits_hist_data_bar_heights"):
        assert row[column] == []
    assert row["vector"] == [0.0] * 32
    matched = {match["index"] for match in read_rows(exported / BASE / "matches")}
    assert str(SILENT) not in matched
    targets = {match["targetIndex"] for match in read_rows(exported / CHAT / "matches")}
    assert str(SILENT) not in targets


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size else float("nan")


def test_neighbours_and_matches_are_the_nearest_by_a_naive_loop(run, exported):
    crosscoder = read_content(run.folder).crosscoder
    base = crosscoder.decoder("base").detach().double().numpy()
    chat = crosscoder.decoder("chat").detach().double().numpy()
    features = read_rows(exported / BASE / "features")
    matches = {int(row["index"]): row for row in read_rows(exported / BASE / "matches")}
    for latent in (0, 40, N_LATENTS - 1):
        same = np.array([cosine(base[latent], other) for other in base])
        order = np.argsort(np.nan_to_num(same, nan=-2.0))[::-1][:10]
        assert features[latent]["topkCosSimIndices"] == order.tolist()
        assert features[latent]["topkCosSimValues"] == pytest.approx(
            [same[k] for k in order], abs=1e-5
        )
        across = [cosine(base[latent], other) for other in chat]
        row = matches[latent]
        assert int(row["targetIndex"]) == int(np.argmax(across))
        assert row["cosine"] == pytest.approx(max(across), abs=1e-5)
        assert row["sameIndexCosine"] == pytest.approx(across[latent], abs=1e-5)
        assert f"{row['targetModelId']}/{row['targetSourceId']}" == CHAT


def test_only_the_source_of_base_names_the_other_one(exported):
    base = read_rows(exported / BASE / "source.jsonl")[0]
    chat = read_rows(exported / CHAT / "source.jsonl")[0]
    assert f"{base['cosSimMatchModelId']}/{base['cosSimMatchSourceId']}" == CHAT
    assert chat["cosSimMatchModelId"] is chat["cosSimMatchSourceId"] is None


def test_activations_are_the_contexts(run, exported):
    contexts = read_content(run.folder).contexts
    rows = read_rows(exported / CHAT / "activations")
    assert len(rows) == len(contexts)
    for row, context in zip(rows, contexts.to_dict("records"), strict=True):
        assert row["index"] == str(context["latent"])
        assert row["values"] == context["activations"].tolist()
        assert len(row["tokens"]) == len(row["values"])
        assert row["values"][row["maxValueTokenIndex"]] == row["maxValue"] == max(row["values"])
        assert row["maxValueTokenIndex"] == context["peak"]
        assert row["minValue"] == min(row["values"])
    assert rows[0]["tokens"] == [" the", "\n", "a", "é", "<bos>", " to"]


def test_explanations_are_the_labels_with_their_scores(exported):
    rows = read_rows(exported / BASE / "explanations")
    assert [(row["index"], row["description"]) for row in rows] == [
        (str(latent), f"about {latent}") for latent in LABELLED
    ]
    assert {row["notes"] for row in rows} == {"detection 0.75"}


# --- whole or not at all ---


def test_the_same_run_is_exported_to_the_same_bytes(small, tmp_path):
    first = tmp_path / "first"
    export_run(small.folder, first, NAMING)
    export_run(small.folder, tmp_path / "again", NAMING)
    for path in first.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(first)).read_bytes()


def test_nothing_is_left_of_an_export_that_fails(small, tmp_path, monkeypatch):
    def fail(*_) -> int:
        raise OSError("the disk is full")

    monkeypatch.setattr(SourceWriter, "_write_explanations", fail)
    with pytest.raises(OSError, match="full"):
        export_run(small.folder, tmp_path / "there", NAMING)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_folder_that_holds_something_is_refused_and_stays(run, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already and is not overwritten"):
        export_run(run.folder, tmp_path, NAMING)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# --- the command ---


@pytest.fixture
def command(monkeypatch, capsys):
    def typed(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["formats", "export", *map(str, words)])
        monkeypatch.setattr(formats.console, "_width", 160)
        formats.main()
        return capsys.readouterr().out

    return typed


def test_the_command_names_what_it_wrote(command, small, tmp_path):
    out = command(small.folder, "neuronpedia", tmp_path / "there", "--creator", "me")
    assert "16 features, 16 activations, 3 explanations" in out
    assert "left out" not in out
    release = read_rows(tmp_path / "there" / CHAT / "release.jsonl")[0]
    assert (release["name"], release["creatorName"]) == ("tiny-diff", "me")


def test_a_run_without_contexts_and_labels_says_so_in_one_line(command, tmp_path):
    run = write_run(tmp_path / "tiny-diff", has_contexts=False, has_labels=False)
    out = command(run.folder, "neuronpedia", tmp_path / "there")
    (line,) = [line for line in out.splitlines() if line.startswith("left out")]
    assert "activations" in line
    assert "explanations" in line
    found = {path.name for path in (tmp_path / "there" / CHAT).iterdir() if path.is_dir()}
    assert found == {"features", "matches"}


def test_arguments_of_weight_layouts_are_refused(command, capsys, run, tmp_path):
    with pytest.raises(SystemExit):
        command(run.folder, "neuronpedia", tmp_path / "there", "--form", "folded")
    assert "--form is for weight layouts" in capsys.readouterr().err


def test_a_run_without_a_table_is_refused(small, tmp_path):
    small.table_path("latents").unlink()
    with pytest.raises(UserError, match=r"no results/latents\.parquet of its crosscoder"):
        export_run(small.folder, tmp_path / "there", NAMING)


def test_models_that_a_foreign_run_names_are_not_loaded(tmp_path):
    run = write_run(tmp_path / "foreign")
    path = run.crosscoder / "config.json"
    config = json.loads(path.read_text())
    config["provenance"]["pair"]["lms"]["chat"] = {"weights": "someone/unknown"}
    path.write_text(json.dumps(config))
    table = LatentTable.load(run.table_path("latents"))
    meta = table.meta | {"crosscoder_sha256": find_crosscoder_sha256(run)}
    LatentTable(table.frame, meta).save(run.table_path("latents"))
    with pytest.raises(UserError, match="add --trust-models"):
        export_run(run.folder, tmp_path / "there", NAMING)


# --- names ---


def test_models_are_named_after_their_weights_and_adapters():
    made = crosscoder_of(TopK(4))
    weights = {"weights": "google/gemma-3-270m"}
    lms = {"base": weights, "chat": weights | {"adapter": "mine/Kind_LoRA/"}}
    made.provenance["pair"] = {"lms": lms}
    names = name_sources(made, NAMING)
    assert [names[name].model for name in ("base", "chat")] == [
        "gemma-3-270m",
        "gemma-3-270m-kind-lora",
    ]
    made.provenance["pair"] = {"lms": {"base": weights, "chat": weights}}
    names = name_sources(made, NAMING)
    assert [names[name].model for name in ("base", "chat")] == [
        "gemma-3-270m-base",
        "gemma-3-270m-chat",
    ]


def test_a_name_without_letters_is_refused():
    assert make_slug("My Run (2)") == "my-run-2"
    with pytest.raises(UserError, match="no name for Neuronpedia"):
        make_slug("…")
