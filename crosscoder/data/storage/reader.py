"""Read an activation store; store.py describes its format."""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from jaxtyping import Bool
from torch import Tensor

from crosscoder.core.sources import Source, Sources
from crosscoder.core.types import PerToken, Tokens
from crosscoder.data.exclude import OUTLIER, compute_norms, is_outlier, parse_kinds
from crosscoder.data.storage import shards
from crosscoder.data.storage.compatibility import require_sources
from crosscoder.data.storage.meta import get_checksums, make_sources, read_meta
from crosscoder.data.storage.quantization import dequantize
from crosscoder.data.storage.shards import make_shard_name
from crosscoder.errors import UserError, first_line
from crosscoder.io.checksum import compute_sha256
from crosscoder.io.files import require_regular
from crosscoder.io.links import require_inside, require_own_file
from crosscoder.io.run_dir import write_json
from crosscoder.io.tensors import read_tensors
from crosscoder.terminal.escapes import escape_controls
from crosscoder.values import require_choice, require_whole

log = logging.getLogger(__name__)


class StoreReader:
    """An activation store that is read.

    The checksum of a shard is verified the first time the shard is read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.meta: dict[str, Any] = {}
        self.refresh()
        require_own_file(self.folder / ".lock")
        self.lock = FileLock(self.folder / ".lock")
        self._verified: set[str] = set()  # names of files whose checksums were compared
        self._norms: dict[str, PerToken] = {}  # norms of shards that do not hold them
        self._medians: dict[str, float] = {}

    def refresh(self) -> None:
        """Read meta.json again; other processes may have changed it."""
        try:
            self.meta = read_meta(self._find_inside("meta.json"))
        except UserError as error:
            raise UserError(f"no activation store at {self.folder}: {error}") from error

    @property
    def sources(self) -> Sources:
        """The sources that this store holds."""
        return make_sources(self.meta)

    @property
    def counts(self) -> list[int]:
        """Number of tokens in each shard."""
        return self.meta["counts"]

    @property
    def seq_len(self) -> int:
        return self.meta["seq_len"]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which activations are returned."""
        return getattr(torch, self.meta["dtype"])

    @property
    def tokens_sha256(self) -> str:
        if "tokens_sha256" not in self.meta:
            raise UserError(
                f"store {self.folder} does not say which tokens it holds: "
                "meta.json lacks tokens_sha256"
            )
        return self.meta["tokens_sha256"]

    def __len__(self) -> int:
        return sum(self.counts)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({escape_controls(str(self.folder))}: {len(self):,} tokens in "
            f"{len(self.counts):,} shards, {self.sources.describe()}, {self.meta['dtype']})"
        )

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.counts)))

    def require(self, sources: Sources) -> None:
        """Refuse sources that this store does not hold, and shards of the wrong size.

        Raises:
            UserError: A source is missing, or has another width or hookpoint, or a file has another
                size than meta.json says.
        """
        held = self.sources
        require_sources(held, sources)
        names = [source.name for source in held.required_sources(sources.names)]
        # before memory is allocated for the sizes that meta.json gives
        for shard in self:
            for column in ("tokens", *names):
                if self.has(shard, column):
                    path = self._find_file(shard, column)
                    shards.require_sizes(path, self.counts[shard], self._get_width(column))

    def tokens(self, shard: int) -> Tokens:
        """Read the tokens of one shard."""
        self._require_shard(shard)
        return shards.make_tokens(self._load(shard, "tokens"))

    def acts(self, shard: int, names: Sequence[str], rows: Tensor | None = None) -> Tensor:
        """Read activations of one shard, in the dtype of the models.

        Args:
            shard: Number of the shard.
            names: Sources, which are concatenated in this order.
            rows: Numbers of the rows to read; None for all rows.

        Returns:
            Activations [n, d_total].
        """
        self._require_shard(shard)
        if isinstance(names, str):  # it would be read letter by letter
            raise UserError(f"names are a list of sources, e.g. ['{names}'], not {names!r}")
        for name in names:
            self.sources[name]  # raises a UserError for a source that is not there

        def read_one(name: str) -> Tensor:
            return dequantize(self._load(shard, name), self.dtype, rows)

        streams = [self.sources.read_source(name, read_one) for name in names]
        return torch.cat(streams, dim=-1)

    def norms(self, shard: int, name: str) -> PerToken:
        """Return ‖x‖ of every token of a shard in one source; measure it if the shard lacks it."""
        path = self._find_file(shard, name)
        if path.name in self._norms:
            return self._norms[path.name]
        norms = _read_norms(path)
        if norms is None:
            norms = compute_norms(dequantize(self._load(shard, name), self.dtype))
            self._norms[path.name] = norms
        if norms.shape != (self.counts[shard],) or not norms.is_floating_point():
            raise UserError(
                f"{path} has norms of {list(norms.shape)} tokens, "
                f"but the store says {self.counts[shard]:,}"
            )
        return norms.float()

    def median_norm(self, name: str) -> float:
        """Return the median ‖x‖ of a source over its content tokens that are not zero.

        It is measured once, when the source is complete, and saved in meta.json if that file can be
        written. It is NaN if there are no such tokens.
        """
        require_choice("source", name, self.sources.names)
        known = self.meta["sources"][name].get("median_norm", self._medians.get(name))
        if known is not None:
            return known
        columns = [self.norms(shard, name)[self.tokens(shard).is_content] for shard in self]
        norms = torch.cat(columns)
        norms = norms[norms != 0]
        median = norms.median().item() if len(norms) else math.nan
        self._medians[name] = median
        if math.isfinite(median):
            self._save_median(name, median)
        return median

    def find_eligible(
        self, shard: int, names: Sequence[str], exclude: Sequence[str]
    ) -> Bool[Tensor, "batch"]:
        """Return a mask of the tokens of a shard that are not excluded.

        Args:
            shard: Number of the shard.
            names: Sources whose outliers count. For a difference of two sources, the outliers of
                these two count, since its own norm says what finetuning changed.
            exclude: Kinds of tokens to exclude, and "outlier" for the outliers of any of the
                sources.
        """
        eligible = ~torch.isin(self.tokens(shard).kind, parse_kinds(exclude))
        if "outlier" in exclude:
            for source in self.sources.required_sources(names):
                limit = OUTLIER * self.median_norm(source.name)
                eligible &= ~is_outlier(self.norms(shard, source.name), limit)
        return eligible

    def has(self, shard: int, column: str) -> bool:
        """Tell whether a shard is recorded in meta.json and its file exists."""
        is_recorded = self.find_checksum(shard, column) is not None
        return is_recorded and (self.folder / make_shard_name(shard, column)).exists()

    def find_missing(self, shard: int, lm: str) -> list[Source]:
        """Return the sources of a language model that are not yet harvested for this shard."""
        own = [source for source in self.sources if source.lm == lm]
        return [source for source in own if not self.has(shard, source.name)]

    def is_complete(self, column: str) -> bool:
        """Tell whether all shards of a source (or of "tokens") are there."""
        return all(self.has(shard, column) for shard in self)

    def find_shard(self, shard: int, column: str) -> Path:
        """Return the file of a shard of a source (or of "tokens").

        Raises:
            UserError: The shard has not been harvested, is not there, or leads out of the store.
        """
        return self._find_file(shard, column)

    def find_checksum(self, shard: int, column: str) -> str | None:
        """Return the checksum that a shard's file should have; None if it is not harvested yet."""
        return get_checksums(self.meta, column)[shard]

    def _require_shard(self, shard: Any) -> None:
        """Refuse a number that no shard has."""
        require_whole("shard", shard, least=0, most=len(self.counts) - 1)

    def _find_inside(self, name: str) -> Path:
        """Return the path of a file in the folder; refuse a link that leads out of it."""
        path = self.folder / name
        require_inside(self.folder, path)
        return path

    def _find_file(self, shard: int, column: str) -> Path:
        path = self._find_inside(make_shard_name(shard, column))
        checksums = get_checksums(self.meta, column)
        if shard >= len(checksums) or checksums[shard] is None:
            raise UserError(
                f"store {self.folder} is not complete: {path.name} has not been harvested"
            )
        if not path.exists():
            raise UserError(f"store {self.folder} lacks {path.name}")
        return path

    def _get_width(self, column: str) -> int | None:
        """Return the width of a source; None for the tokens."""
        return None if column == "tokens" else self.meta["sources"][column]["width"]

    def _load(self, shard: int, column: str) -> dict[str, Tensor]:
        path = self._find_file(shard, column)
        require_regular(path)
        if path.name not in self._verified:
            if compute_sha256(path) != self.find_checksum(shard, column):
                raise UserError(
                    f"{path} is damaged: its checksum is not the one in meta.json; "
                    "delete it to harvest it again"
                )
            self._verified.add(path.name)
        tensors = read_tensors(path)
        shards.require_shard(path, tensors, self.counts[shard], self._get_width(column))
        return tensors

    def _save_median(self, name: str, median: float) -> None:
        try:
            with self.lock:
                self.refresh()
                self.meta["sources"][name]["median_norm"] = median
                self._write_meta()
        except OSError as error:  # in a read-only store, it is measured again every time
            log.debug("%s cannot save its median norms: %s", self.folder, first_line(error))

    def _write_meta(self) -> None:
        write_json(self._find_inside("meta.json"), self.meta)


def _read_norms(path: Path) -> Tensor | None:
    """Read the norms in a shard's file; None if there are none or the file cannot be read.

    The checksum is not verified: it is when the activations are read, with a message that says what
    is wrong.
    """
    try:
        return read_tensors(path, ["norm"]).get("norm")
    except UserError:
        return None
