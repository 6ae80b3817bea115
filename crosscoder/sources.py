"""Sources: the ordered, named slices of an activation vector.

A *source* is one stream: a language model at a hookpoint. One source makes an SAE, two make model diffing, several
layers or checkpoints make the other crosscoders; widths may differ. `contrast = (chat, base)` names the two that are
compared; without it difference metrics are absent. `chat-base` is a source, too, wherever `chat` and `base` are: their
difference, on which an SAE can be trained.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from crosscoder.errors import UserError

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
    """The slices of an activation vector [batch, d_total], in order, and which two are contrasted."""

    items: tuple[Source, ...]
    contrast: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if bad := [name for name in self.names if not (isinstance(name, str) and NAME.fullmatch(name))]:
            raise UserError(f"no source can be named {bad[0]!r}: letters, digits and _ . + - make a name")
        if len(set(self.names)) != len(self.items) or not self.items:
            raise UserError(f"sources need distinct names, at least one: {list(self.names)}")
        for name in self.contrast or ():
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

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Source]:
        return iter(self.items)

    def __getitem__(self, name: str) -> Source:
        for source in self.items:
            if source.name == name:
                return source
        if parts := self.minus(name):
            one, other = (self[part] for part in parts)
            if one.width != other.width:
                raise UserError(f"{name} is no source: they have widths {one.width} and {other.width}")
            return Source(name, one.width, f"{one.lm} - {other.lm}", one.hookpoint)
        raise UserError(f"no source '{name}'; there is {', '.join(self.names)}")

    def minus(self, name: str) -> tuple[str, str] | None:
        """The two sources whose difference `name` is, if it is one."""
        pairs = ((one, other) for one in self.names for other in self.names if name == f"{one}-{other}")
        return None if name in self.names else next(pairs, None)

    def slice(self, name: str) -> slice:
        """Where `name` lies in an activation vector."""
        start = 0
        for source in self.items:
            if source.name == name:
                return slice(start, start + source.width)
            start += source.width
        raise UserError(f"no source '{name}'; there is {', '.join(self.names)}")

    def split(self, acts: Tensor) -> dict[str, Tensor]:
        """Views of the last axis by source name."""
        return dict(zip(self.names, acts.split(self.widths, dim=-1), strict=True))

    def subset(self, names: Sequence[str]) -> "Sources":
        """Only these, in this order; the contrast stays if both its sides do."""
        contrast = self.contrast if self.contrast and set(self.contrast) <= set(names) else None
        return Sources(tuple(self[name] for name in names), contrast)

    @property
    def comparable(self) -> tuple[str, str] | None:
        """The contrast, if its sources can be subtracted."""
        if self.contrast and len({self[name].width for name in self.contrast}) == 1:
            return self.contrast
        return None

    def compared(self, what: str) -> tuple[str, str]:
        """The contrast, whose sources `what` subtracts; refused if they cannot be."""
        if self.comparable is None:
            raise UserError(f"{what} needs two contrasted sources of one width")
        return self.comparable

    def stream(self, name: str, of: Callable[[str], Tensor]) -> Tensor:
        """A source's activations, be it a difference, from what gives those of the sources themselves."""
        if parts := self.minus(name):
            one, other = (of(part) for part in parts)
            return (one.float() - other.float()).to(one.dtype)
        return of(name)

    def behind(self, names: Sequence[str]) -> "Sources":
        """What has to be read for these: a difference's own two sources in its place."""
        read = [part for name in names for part in self.minus(name) or (name,)]
        return self.subset(list(dict.fromkeys(read)))

    def spec(self) -> dict:
        """Plain JSON, read back by `from_spec`."""
        return {"items": [asdict(source) for source in self.items], "contrast": self.contrast and list(self.contrast)}

    @classmethod
    def from_spec(cls, spec: dict) -> "Sources":
        contrast = spec.get("contrast")
        return cls(tuple(Source(**item) for item in spec["items"]), tuple(contrast) if contrast else None)

    def describe(self) -> str:
        """`[base, chat] of width 640, 640`."""
        return f"[{', '.join(self.names)}] of width {', '.join(map(str, self.widths))}"
