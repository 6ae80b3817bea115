"""Rows of activations/ and explanations/: texts on which a latent is active, and its label."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from crosscoder.lm.readable_tokens import decode_tokens
from crosscoder.neuronpedia.naming import Naming, SourceName
from crosscoder.neuronpedia.schema import Activation, Explanation

ID_LENGTH = 25  # of Neuronpedia's own ids
SCORE = "label_score/"


def make_id(*parts: object) -> str:
    """Return an id that depends on its parts alone, so that nothing is imported twice."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"c{digest}"[:ID_LENGTH]


def decode_contexts(contexts: pd.DataFrame) -> dict[str, str]:
    """Return the text of every token that occurs in contexts."""
    used: set[str] = set()
    for tokens in contexts["tokens"]:
        used.update(tokens)
    words = sorted(used)
    return dict(zip(words, decode_tokens(words), strict=True))


def build_activations(
    name: SourceName, naming: Naming, contexts: pd.DataFrame, texts: dict[str, str]
) -> Iterator[Activation]:
    """Build the rows of contexts.

    Args:
        name: Names of the source.
        naming: Names of the export.
        contexts: Rows of contexts.parquet.
        texts: Text of every token.
    """
    for context in contexts.to_dict("records"):
        values = np.asarray(context["activations"], dtype=float).tolist()
        largest = max(values)
        kind = (context["group"], context["document"], context["position"])
        yield {
            "id": make_id(name.model, name.id, context["latent"], *kind, *values),
            "modelId": name.model,
            "layer": name.id,
            "index": str(context["latent"]),
            "creatorId": naming.creator_id,
            "dataSource": context["group"],
            "tokens": [texts[token] for token in context["tokens"]],
            "values": values,
            "maxValue": largest,
            "maxValueTokenIndex": values.index(largest),
            "minValue": min(values),
            "dfaValues": [],
            "dfaMaxValue": None,
            "dfaTargetIndex": None,
            "binContains": None,
            "binMin": None,
            "binMax": None,
        }


def build_explanations(
    name: SourceName, naming: Naming, table: pd.DataFrame, labels: pd.Series
) -> Iterator[Explanation]:
    """Build the rows of labels; `notes` has the scores of each.

    Args:
        name: Names of the source.
        naming: Names of the export.
        table: Table of latents, by latent.
        labels: Labels by latent.
    """
    for latent, label in labels.items():
        yield {
            "id": make_id(name.model, name.id, latent, label),
            "modelId": name.model,
            "layer": name.id,
            "index": str(latent),
            "authorId": naming.creator_id,
            "description": label,
            "notes": _describe_scores(table.loc[latent]),
            "typeName": None,
            "explanationModelName": None,
        }


def _describe_scores(row: pd.Series) -> str | None:
    """Describe the scores of a label, e.g. `detection 0.84, fuzzing 0.71`; None without any."""
    scores = []
    for column, value in row.items():
        if str(column).startswith(SCORE) and np.isfinite(value):
            scores.append(f"{str(column).removeprefix(SCORE)} {value:.2f}")
    return ", ".join(scores) or None
