"""Each class of the verdict from the columns that determine it, and changes that alter it."""

import numpy as np
import pytest

from crosscoder.analysis.columns.verdict import judge_latents
from crosscoder.analysis.rule import VerdictRule

SPECIFIC = {
    "n_active": 100,
    "cosine": 0.0,
    "max_cross_cosine": 0.2,
    "norm/chat": 1.0,
    "norm/base": 0.1,
    "supported/chat": 1.0,
    "supported/base": 0.01,
    **{
        f"nu/{target}/{source}/{end}": 0.0
        for target in ("error", "reconstruction")
        for source in ("chat", "base")
        for end in ("low", "high")
    },
}
BOTH = SPECIFIC | {"norm/base": 1.0, "supported/base": 0.9}


def verdict(row: dict, **changes) -> str:
    columns = {name: np.array([value]) for name, value in (row | changes).items()}
    return judge_latents(VerdictRule(), columns, "chat", "base")[0]


def mirrored(row: dict) -> dict:
    swap = {"chat": "base", "base": "chat"}
    return {
        "/".join(swap.get(part, part) for part in name.split("/")): value
        for name, value in row.items()
    }


@pytest.mark.parametrize(
    ("row", "changes", "expected"),
    [
        (SPECIFIC, {}, "chat-specific"),
        (SPECIFIC, {"nu/error/chat/low": 0.3, "nu/error/chat/high": 0.4}, "shrunk"),
        (SPECIFIC, {"nu/error/chat/low": 0.1, "nu/error/chat/high": 0.4}, "undetermined"),
        (
            SPECIFIC,
            {"nu/reconstruction/chat/low": 0.6, "nu/reconstruction/chat/high": 0.8},
            "decoupled",
        ),
        (SPECIFIC, {"nu/reconstruction/chat/high": 0.8}, "undetermined"),
        (SPECIFIC, {"nu/error/chat/low": np.nan, "nu/error/chat/high": np.nan}, "undetermined"),
        (SPECIFIC, {"max_cross_cosine": 0.95}, "decoupled"),
        (
            SPECIFIC,
            {"supported/chat": 0.1, "supported/base": 0.001},
            "undetermined",
        ),  # the data do not support the decoder
        (SPECIFIC, {"supported/base": 0.1}, "undetermined"),  # weak, and apart
        (SPECIFIC, {"supported/base": 0.1, "cosine": 0.9}, "shared"),
        (SPECIFIC, {"n_active": 9}, "undetermined"),
        (SPECIFIC, {"n_active": 0}, "dead"),
        (BOTH, {"cosine": 0.9}, "shared"),
        (BOTH, {"cosine": 0.1}, "rewritten"),
        (BOTH, {"cosine": -0.9}, "rewritten"),
        (BOTH, {"cosine": 0.9, "supported/chat": np.nan}, "undetermined"),
    ],
)
def test_classes_and_their_mirror_image(row, changes, expected):
    assert verdict(row, **changes) == expected
    other = expected.replace("chat", "base")
    assert verdict(mirrored(row | changes)) == other


def test_the_sources_name_the_classes():
    columns = {name.replace("chat", "tuned"): np.array([value]) for name, value in SPECIFIC.items()}
    assert judge_latents(VerdictRule(), columns, "tuned", "base")[0] == "tuned-specific"
