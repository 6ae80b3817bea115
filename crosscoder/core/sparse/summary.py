"""Codes as people read them: a line per code, and the latents that are active on a token."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.terminal.escapes import escape_controls
from crosscoder.values import is_whole, require_whole

N_SHOWN = 5  # latents in the line of a code
LABEL_LENGTH = 40


@runtime_checkable
class Table(Protocol):
    """The part of a LatentTable that is read here."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        ...

    def __getitem__(self, column: str) -> Any:
        """Return one column, one entry per row."""
        ...


@dataclass(frozen=True)
class ActiveLatent:
    """A latent that is active on a token.

    Args:
        latent: Its index.
        f: Its activation.
        verdict: Its verdict in the table, or "".
        label: What the table says of it: the column `label`, or else the tokens it promotes.
    """

    latent: int
    f: float
    verdict: str = ""
    label: str = ""


class ActiveLatents(list[ActiveLatent]):
    """Latents that are active on a token, largest activation first; printed as a table."""

    def __init__(self, rows: Sequence[ActiveLatent], token: str) -> None:
        super().__init__(rows)
        self.token = token

    def _cells(self) -> list[tuple[str, str, str, str]]:
        cells = [("latent", "f", "verdict", "label")]
        for row in self:
            label = escape_controls(row.label)[:LABEL_LENGTH]
            cells.append((str(row.latent), f"{row.f:.3g}", escape_controls(row.verdict), label))
        return cells

    def __repr__(self) -> str:
        if not self:
            return f"no latent is active on {self.token}"
        lines = [f"latents on {self.token}"]
        for latent, f, verdict, label in self._cells():
            lines.append(f"{latent:>8} {f:>9}  {verdict:<15} {label}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(f'latents on {self.token}')}</p>{format_html(self._cells())}"


def format_html(cells: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as an HTML table, the first row as its head."""
    rows = []
    for number, row in enumerate(cells):
        tag = "td" if number else "th"
        rows.append("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row))
    return "<table><tr>" + "</tr><tr>".join(rows) + "</tr></table>"


def list_active(
    f: Tensor, latents: Tensor, token: str, n: int, table: Table | None = None
) -> ActiveLatents:
    """List the `n` most active of some latents.

    Args:
        f: Activations of the latents, [n_active], all above zero.
        latents: Their indices, [n_active].
        token: How the token is named.
        n: Largest number of latents.
        table: LatentTable with a column `latent`; latents without a row have no verdict.
    """
    require_whole("n", n)
    # equal activations are listed by rising index
    order = torch.argsort(f, descending=True, stable=True)[:n]
    verdicts = _read_column(table, "verdict")
    labels = _read_labels(table)
    rows = []
    for latent, value in zip(latents[order].tolist(), f[order].tolist(), strict=True):
        verdict = verdicts.get(latent, "")
        rows.append(ActiveLatent(latent, value, verdict, labels.get(latent, "")))
    return ActiveLatents(rows, token)


def _read_labels(table: Table | None) -> dict[int, str]:
    """Return the label of each latent in a table: `label`, or else the tokens it promotes."""
    names = [] if table is None else table.columns
    promoted = [name for name in names if name.startswith("tokens/")]
    for name in ("label", "tokens/difference", *promoted):
        if name in names:
            return _read_column(table, name)
    return {}


def _read_column(table: Table | None, name: str) -> dict[int, str]:
    if table is None:
        return {}
    if not hasattr(table, "columns") or "latent" not in table.columns:
        raise UserError(
            f"table is a LatentTable, e.g. LatentTable.load(path), not {type(table).__name__}"
        )
    if name not in table.columns:
        return {}
    entries = {}
    for latent, value in zip(table["latent"].tolist(), table[name], strict=True):
        entries[int(latent)] = value if isinstance(value, str) else " ".join(map(str, value))
    return entries


def find_row(token: Any, n_tokens: int, strings: Sequence[str] | None) -> int:
    """Return the row of a token that is given by its number, or by its text if it is there once.

    Args:
        token: Number from 0; negative numbers count from the end. Or the token's text.
        n_tokens: Number of tokens.
        strings: Text of each token, if known.

    Raises:
        UserError: There is no such token, or there are several.
    """
    if isinstance(token, str):
        return _find_text(token, strings)
    if not is_whole(token) or not -n_tokens <= token < n_tokens:
        raise UserError(
            f"token is a whole number from 0 to {n_tokens - 1}, or a token's text, "
            f"not {token!r:.80}"
        )
    return token % n_tokens


def _find_text(token: str, strings: Sequence[str] | None) -> int:
    if strings is None:
        raise UserError(f"this code does not know its tokens' text: give a number, not {token!r}")
    rows = [row for row, text in enumerate(strings) if text == token]
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise UserError(f"the token {token!r} occurs at {rows[:20]}: give one of these numbers")
    known = ", ".join(repr(text) for text in list(dict.fromkeys(strings))[:20])
    raise UserError(f"no token {token!r:.80}; the tokens are {known}")


def describe_code(n_tokens: int, n_latents: int, l0: Tensor, mass: Tensor) -> str:
    """Return the line of a code, e.g. `315 tokens × 4,096 latents, L0 22.8, top latents 457, 3`.

    Args:
        n_tokens: Number of tokens.
        n_latents: Size of the dictionary.
        l0: Number of active latents by token.
        mass: Sum of each latent's activation, [n_latents].
    """
    line = f"{n_tokens:,} tokens × {n_latents:,} latents"
    if not n_tokens:
        return line
    line += f", L0 {float(l0.mean()):.3g}"
    n_active = min(N_SHOWN, int((mass > 0).sum()))
    if not n_active:
        return line
    top = mass.argsort(descending=True, stable=True)[:n_active].tolist()
    return f"{line}, top latents {', '.join(map(str, top))}"
