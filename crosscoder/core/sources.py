"""Sources: the ordered, named slices of an activation vector.

A *source* is one stream: a language model at a hookpoint. One source makes an SAE, two make model
diffing, several layers or checkpoints make the other crosscoders; widths may differ. `diff_pair =
(chat, base)` names the two sources that are compared; without it there are no difference metrics.
Wherever `chat` and `base` are sources, `chat-base` is one, too: their difference, on which an SAE
can be trained.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from crosscoder.errors import UserError
from crosscoder.values import require_whole

NAME = re.compile(r"\w[\w.+-]*")  # files are named after sources, and tables are searched for them


@dataclass(frozen=True)
class Source:
    """One stream: `lm` names the language model, `hookpoint` is written as in `lm.hooks`."""

    name: str
    width: int
    lm: str = ""
    hookpoint: str = ""


@dataclass(frozen=True)
class Sources:
    """Slices of an activation vector [batch, d_total], in order, and the pair that is compared."""

    items: tuple[Source, ...]
    diff_pair: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        for source in self.items:
            if not isinstance(source, Source):
                raise UserError(
                    f"sources are Source objects, e.g. Source('base', 640), not {source!r:.80}"
                )
        for name in self.names:
            if not (isinstance(name, str) and NAME.fullmatch(name)):
                raise UserError(
                    f"no source can be named {name!r}: use letters, digits and _ . + - only"
                )
        if len(set(self.names)) != len(self.items) or not self.items:
            raise UserError(
                f"expected at least one source and distinct names, found {list(self.names)}"
            )
        for source in self.items:
            require_whole(f"width of source '{source.name}'", source.width)
        if self.diff_pair is not None:
            self._require_pair(self.diff_pair)

    def _require_pair(self, pair: Any) -> None:
        """Refuse a compared pair that is not two different sources."""
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2 and pair[0] != pair[1]
        if not is_pair:
            raise UserError(
                "diff_pair is two different sources, the finetuned one first, of "
                f"{', '.join(self.names)}, or none; not {pair!r:.80}"
            )
        for name in pair:
            self[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.items)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(source.width for source in self.items)

    @property
    def d_total(self) -> int:
        return sum(self.widths)

    @property
    def primary(self) -> str:
        """Return the first source of the compared pair (chat), or else the first source."""
        return (self.diff_pair or self.names)[0]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Source]:
        return iter(self.items)

    def __getitem__(self, name: str) -> Source:
        for source in self.items:
            if source.name == name:
                return source
        difference = self.parse_difference(name)
        if difference is None:
            raise self._unknown(name)
        first = self[difference[0]]
        second = self[difference[1]]
        if first.width != second.width:
            raise UserError(
                f"{name} is no source: expected equal widths, "
                f"found {first.width} and {second.width}"
            )
        return Source(name, first.width, f"{first.lm} - {second.lm}", first.hookpoint)

    def parse_difference(self, name: str) -> tuple[str, str] | None:
        """Return the two sources whose difference is called `name`, or None."""
        if name in self.names:
            return None
        for first in self.names:
            for second in self.names:
                if name == f"{first}-{second}":
                    return first, second
        return None

    def slice(self, name: str) -> slice:
        """Return the columns of a source in an activation vector."""
        start = 0
        for source in self.items:
            if source.name == name:
                return slice(start, start + source.width)
            start += source.width
        raise self._unknown(name)

    def split(self, acts: Tensor) -> dict[str, Tensor]:
        """Return views of the last axis by source name."""
        if not isinstance(acts, Tensor) or acts.shape[-1] != self.d_total:
            found = list(acts.shape) if isinstance(acts, Tensor) else type(acts).__name__
            raise UserError(
                f"expected a tensor […, {self.d_total}] of {self.describe()}, not {found}"
            )
        return dict(zip(self.names, acts.split(self.widths, dim=-1), strict=True))

    def subset(self, names: Sequence[str]) -> "Sources":
        """Return only these sources, in this order; they keep the compared pair if it is there."""
        if isinstance(names, str):  # it would be read letter by letter
            raise UserError(f"sources are a list of names, e.g. ['{names}'], not {names!r}")
        has_pair = self.diff_pair is not None and set(self.diff_pair) <= set(names)
        items = tuple(self[name] for name in names)
        return Sources(items, self.diff_pair if has_pair else None)

    @property
    def comparable(self) -> tuple[str, str] | None:
        """Return the compared pair if its sources can be subtracted, or None."""
        if self.diff_pair is None:
            return None
        widths = {self[name].width for name in self.diff_pair}
        return self.diff_pair if len(widths) == 1 else None

    def require_comparable(self, purpose: str) -> tuple[str, str]:
        """Return the compared pair, for a `purpose` that subtracts its sources.

        Raises:
            UserError: No pair is compared, or its widths differ.
        """
        if self.comparable is None:
            raise UserError(
                f"{purpose} needs two compared sources (diff_pair) of one width, "
                f"found {self.describe()}"
            )
        return self.comparable

    def read_source(self, name: str, read: Callable[[str], Tensor]) -> Tensor:
        """Return the activations of a source or a difference; `read` reads those of a source."""
        difference = self.parse_difference(name)
        if difference is None:
            return read(name)
        first = read(difference[0])
        second = read(difference[1])
        return (first.float() - second.float()).to(first.dtype)

    def required_sources(self, names: Sequence[str]) -> "Sources":
        """Return the sources to read; `chat-base` expands to both."""
        required: list[str] = []
        for name in names:
            required.extend(self.parse_difference(name) or (name,))
        return self.subset(list(dict.fromkeys(required)))

    def spec(self) -> dict:
        """Return plain JSON, for `from_spec`."""
        return {
            "items": [asdict(source) for source in self.items],
            "contrast": self.diff_pair and list(self.diff_pair),
        }

    @classmethod
    def from_spec(cls, spec: dict) -> "Sources":
        """Build sources from the result of `spec`."""
        items = tuple(Source(**item) for item in spec["items"])
        pair = spec.get("contrast")
        return cls(items, tuple(pair) if pair else None)

    def describe(self) -> str:
        """Return `[base, chat] of width 640, 640`."""
        return f"[{', '.join(self.names)}] of width {', '.join(map(str, self.widths))}"

    def _unknown(self, name: str) -> UserError:
        return UserError(f"no source '{name}': expected one of {', '.join(self.names)}")
