"""Counts of the rows that are read and of those that are left out."""

import logging
from dataclasses import dataclass, field
from typing import Any

from crosscoder import distributed
from crosscoder.data.corpora.rows import FIRST_ROWS
from crosscoder.errors import UserError
from crosscoder.lm.chat.document import Document
from crosscoder.lm.chat.template import DATE, has_date
from crosscoder.lm.text import Tokenizer

log = logging.getLogger(__name__)

MAX_EXAMPLES = 3  # rows left out that a message lists
# this text is part of a store's meta.json
MERGED = (
    "chats were changed because the chat template refuses them as they are: "
    "system text stands before the first user message, "
    "messages of one role in a row are one message, "
    "and what the assistant says before any user is left out"
)


@dataclass
class Tally:
    """Counts of the rows of one split, and the date that a chat template writes.

    Args:
        split: train, validation or heldout.
        max_unusable: The largest fraction of the rows read that may be left out, once 20 have been
            read.
        at_once: Whether the first row that is left out is logged immediately, as for data that are
            read for hours.
        is_quiet: Whether nothing is logged, as when the same data are read again.
    """

    split: str
    max_unusable: float = 0.1
    at_once: bool = False
    is_quiet: bool = False
    n_read: int = 0
    n_unusable: int = 0
    first: list[str] = field(default_factory=list)
    has_date: bool = False
    n_merged: int = 0
    n_empty: int = 0
    n_cut: int = 0

    def note_date(self, tokenizer: Tokenizer, document: Document) -> None:
        """Note whether a chat template writes its date into a document; one document is enough."""
        if not self.has_date and not isinstance(document, str):
            self.has_date = has_date(tokenizer, document)

    def leave_out(self, where: str, reason: str) -> None:
        """Count a row that is left out.

        Raises:
            UserError: Too many rows have been left out.
        """
        self.n_unusable += 1
        if len(self.first) < MAX_EXAMPLES:
            self.first.append(f"{where}: {reason}")
        if self.at_once and self.n_unusable == 1 and self._is_logging():
            log.warning("a row of the %s data is left out: %s", self.split, self.first[0])
        # unusable rows may be adjacent, so before the end only a clear excess is an error
        self._require_usable(n_read=max(self.n_read, 10 * FIRST_ROWS))

    def end(self) -> None:
        """Check the fraction of rows left out, once reading has ended, and log them.

        Raises:
            UserError: Too many rows have been left out.
        """
        if self.n_read >= FIRST_ROWS:
            self._require_usable(self.n_read)
        self.report()

    def report(self) -> None:
        """Log the rows that were left out and the chats that were changed, if there are any."""
        if not self._is_logging():
            return
        if self.n_unusable:
            log.warning("%s data: %s", self.split, self.describe())
        if self.n_merged:
            log.warning(
                "%s data: %s of %s %s",
                self.split,
                f"{self.n_merged:,}",
                f"{self.n_read:,}",
                MERGED,
            )

    def describe(self) -> str:
        """Return in one line how many rows were left out, with the first ones."""
        n_more = self.n_unusable - len(self.first)
        more = f"; and {n_more:,} more" if n_more else ""
        examples = "; ".join(self.first)
        return f"{self.n_unusable:,} of {self.n_read:,} rows were left out ({examples}{more})"

    def meta(self) -> dict[str, Any]:
        """Return entries for a store's meta.json: rows left out, chats changed, template date."""
        entries: dict[str, Any] = {}
        if self.n_unusable:
            entries["skipped"] = {
                "rows": self.n_unusable,
                "of": self.n_read,
                "first": list(self.first),
            }
        if self.n_merged:
            entries["merged"] = {"rows": self.n_merged, "of": self.n_read, "how": MERGED}
        if self.has_date:
            entries["template_date"] = DATE.date().isoformat()
        return entries

    def _is_logging(self) -> bool:
        return not self.is_quiet and distributed.rank() == 0

    def _require_usable(self, n_read: int) -> None:
        if self.n_unusable > self.max_unusable * n_read:
            raise UserError(
                f"the {self.split} data have too many unusable rows: {self.describe()}; "
                f"at most {self.max_unusable:.0%} may be (data.max_unusable): "
                "repair the data, or name the right column"
            )
