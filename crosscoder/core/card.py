"""Model card of a crosscoder: README.md with the hub's metadata, figures and usage."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from crosscoder.io.markdown import format_table
from crosscoder.terminal.escapes import escape_controls
from crosscoder.values import is_finite

FIGURES = ("fve", "fve_standardised", "l0", "dead_fraction")
USAGE = """```python
import crosscoder

dictionary = crosscoder.load("{name}")
code = dictionary.encode(acts)  # raw activations of all sources side by side, [tokens, {d_total}]
recon = dictionary.decode(code)
```"""

LATENTS = "results/latents.parquet"
TABLE_USAGE = """```python
from crosscoder import LatentTable

table = LatentTable.from_pretrained("{name}")  # one row per latent
```"""


def model_card(
    config: Mapping[str, Any], metrics: Mapping[str, Any], name: str, files: Sequence[str] = ()
) -> str:
    """Return the card as Markdown.

    Args:
        config: Content of `config.json`.
        metrics: Flat figures on held-out documents, as in a run's `metrics.json`; may be empty.
        name: Name under which the crosscoder is loaded.
        files: Results that are uploaded beside the weights.
    """
    items = config["sources"]["items"]
    provenance = config["provenance"]
    lms = (provenance.get("pair") or {}).get("lms", {})
    figures = _select_figures(metrics)
    paragraphs = [
        f"---\n{_metadata(name, lms, figures).to_yaml()}\n---",
        f"# {name}",
        _describe_kind(config),
        format_table(["source", "language model", "hookpoint", "width"], _source_rows(items, lms)),
        USAGE.format(name=name, d_total=sum(item["width"] for item in items)),
    ]
    if figures:
        rows = [[key, _format_figure(value)] for key, value in figures.items()]
        paragraphs.append("On documents held out from training:")
        paragraphs.append(format_table(["figure", "value"], rows))
    if files:
        listed = ", ".join(_code(file) for file in files)
        paragraphs.append(f"Results beside the weights: {listed}.")
    if LATENTS in files:
        paragraphs.append(TABLE_USAGE.format(name=name))
    paragraphs.extend(_describe_provenance(provenance))
    return "\n\n".join(paragraphs) + "\n"


def _format_figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _select_figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    selected = {}
    for key, value in metrics.items():
        if key.partition("/")[0] in FIGURES and is_finite(value):
            selected[key] = value
    return selected


def _metadata(name: str, lms: Mapping[str, Any], figures: Mapping[str, Any]) -> ModelCardData:
    base_models = []
    for lm in lms.values():
        weights = str(lm.get("weights", ""))
        if "/" in weights:  # of the hub
            base_models.append(weights)
    results = [
        EvalResult("feature-extraction", "held-out", "held-out documents", key, value)
        for key, value in figures.items()
    ]
    return ModelCardData(
        library_name="crosscoder",
        tags=["crosscoder", "sparse-autoencoder", "model-diffing", "interpretability"],
        base_model=list(dict.fromkeys(base_models)) or None,
        model_name=name if figures else None,
        eval_results=results or None,
    )


def _describe_kind(config: Mapping[str, Any]) -> str:
    is_crosscoder = len(config["sources"]["items"]) > 1
    kind = "crosscoder" if is_crosscoder else "sparse autoencoder"
    activation = config["activation"]["name"]
    return f"A {kind} of {config['n_latents']:,} latents ({activation}). It eats raw activations."


def _source_rows(
    items: list[Mapping[str, Any]], lms: Mapping[str, Mapping[str, Any]]
) -> list[list[str]]:
    rows = []
    for item in items:
        lm = lms.get(item["lm"], {})
        weights = " + ".join(str(value) for value in lm.values() if value)
        rows.append([item["name"], weights, item["hookpoint"], str(item["width"])])
    return rows


def _describe_provenance(provenance: Mapping[str, Any]) -> list[str]:
    sentences = []
    if provenance.get("settings"):
        settings = _code(" ".join(map(str, provenance["settings"])))
        sentences.append(f"Settings of its training that differ from the default: {settings}.")
    if provenance.get("repo"):
        origin = _code(str(provenance.get("origin")))
        revision = _code(str(provenance.get("revision")))
        sentences.append(f"Converted from {origin} at revision {revision}.")
    return sentences


def _code(text: str) -> str:
    """Quote text in a line as code; a backtick, which would end it, becomes an apostrophe."""
    exit_on_error = escape_controls(" ".join(text.split()))
    return "`" + exit_on_error.replace("`", "'") + "`"
