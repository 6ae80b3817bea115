"""Rows and scalars of the patching eval, from KL(chat ‖ patched) at the tokens of each answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from crosscoder.behaviours.bootstrap import bootstrap_interval

N_FIRST_TOKENS = 9
INTO_CHAT = ("none", "all", "error")
INTO_BASE = ("none", "true", "all", "error")
TEMPLATE = "template"
Row = dict[str, Any]
KLs = Mapping[str, Sequence[Tensor]]
"""By patch: KL at the tokens of each answer."""


def name_draw(name: str, draw: int) -> str:
    """Return the name of the patch of random latents in a set's place."""
    return f"random {draw + 1} for {name}"


# --- patches into chat ---


def tabulate_chat(kls: KLs, seed: int) -> list[Row]:
    """Return a row for each patch of the chat model."""
    return [_make_chat_row(name, kl, kls["none"], seed) for name, kl in kls.items()]


def _make_chat_row(name: str, kl: Sequence[Tensor], none: Sequence[Tensor], seed: int) -> Row:
    """Return mean KL over tokens, with intervals over answers, and how much of `none` it cuts.

    All are measured on all tokens and on the first few.
    """
    row: Row = {"patch": name}
    for title, n_tokens in (("KL", None), (f"KL first {N_FIRST_TOKENS}", N_FIRST_TOKENS)):
        row |= _summarise_kl(title, kl, seed, n_tokens)
        total = _sum_tokens(kl, n_tokens).sum()
        none_total = _sum_tokens(none, n_tokens).sum()
        row[f"{title} cut"] = 1 - float(divide(total, none_total))
    return row


def make_chat_scalars(rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean KL of the patches that need no ranking of latents."""
    scalars = {}
    for key, column in (
        ("kl", "KL"),
        (f"kl_first{N_FIRST_TOKENS}", f"KL first {N_FIRST_TOKENS}"),
    ):
        for row in rows:
            if row["patch"] in (*INTO_CHAT, TEMPLATE):
                scalars[f"{key}/{row['patch']}"] = row[column]
    return scalars


# --- patches into base ---


def tabulate_base(
    kls: KLs, sets: Mapping[str, list[int]], draws: Sequence[tuple[str, int]], seed: int
) -> list[Row]:
    """Return a row for each patch of the base model, with the floor beside sets of latents."""
    rows = []
    for name in (*INTO_BASE, *sets):
        n_latents = len(sets[name]) if name in sets else None
        row: Row = {"patch": name, "latents": n_latents}
        row |= _summarise_kl("KL", kls[name], seed)
        row |= _summarise_closed(kls[name], kls["none"], seed)
        row["random"] = _average_random(kls, name, draws)
        rows.append(row)
    return rows


def _summarise_closed(kl: Sequence[Tensor], none: Sequence[Tensor], seed: int) -> Row:
    """Return the share of KL(chat ‖ base) that a patch closes, with its interval."""
    sums = _sum_tokens(kl)
    none_sums = _sum_tokens(none)
    low, high = bootstrap_interval(_share_closed, sums, none_sums, seed=seed)
    return {
        "closed": float(_share_closed(sums, none_sums)),
        "closed low": low,
        "closed high": high,
    }


def _average_random(kls: KLs, name: str, draws: Sequence[tuple[str, int]]) -> float | None:
    """Return the mean share that random latents close in a set's place; None without any."""
    none_sums = _sum_tokens(kls["none"])
    shares = []
    for drawn_for, draw in draws:
        if drawn_for == name:
            sums = _sum_tokens(kls[name_draw(name, draw)])
            shares.append(float(_share_closed(sums, none_sums)))
    return float(np.mean(shares)) if shares else None


def _share_closed(sums: np.ndarray, none_sums: np.ndarray) -> np.ndarray:
    return np.asarray(1 - divide(sums.sum(-1), none_sums.sum(-1)))


def make_base_scalars(rows: Sequence[Row]) -> dict[str, float]:
    """Return the share closed by each patch, and by random latents in its place."""
    scalars = {}
    for row in rows:
        name = row["patch"].replace("top ", "top")
        if name == "none":
            scalars["kl_base"] = row["KL"]
            continue
        scalars[f"closed/{name}"] = row["closed"]
        if row["random"] is not None:
            scalars[f"closed_random/{name}"] = row["random"]
    return scalars


# --- sums over tokens ---


def _summarise_kl(title: str, kl: Sequence[Tensor], seed: int, n_tokens: int | None = None) -> Row:
    """Return the mean KL over tokens, or over the first few of each answer, with its interval."""
    sums = _sum_tokens(kl, n_tokens)
    counts = np.array([float(len(values[:n_tokens])) for values in kl])
    low, high = bootstrap_interval(_mean_per_token, sums, counts, seed=seed)
    mean = float(_mean_per_token(sums, counts))
    return {title: mean, f"{title} low": low, f"{title} high": high}


def _mean_per_token(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return divide(sums.sum(-1), counts.sum(-1))


def divide(numerator: Any, denominator: Any) -> np.ndarray:
    """Divide; NaN where the denominator is 0."""
    denominator = np.asarray(denominator, dtype=float)
    nan = np.full_like(denominator, np.nan)
    return np.divide(numerator, denominator, out=nan, where=denominator != 0)


def _sum_tokens(kl: Sequence[Tensor], n_tokens: int | None = None) -> np.ndarray:
    return np.array([float(values[:n_tokens].sum()) for values in kl])
