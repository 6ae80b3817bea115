"""The language models that are compared, and reading activations from all of them."""

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import yaml
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from crosscoder.errors import NotApplicable, UserError, first_line
from crosscoder.lm.align import Token, keyed, paired
from crosscoder.lm.hooks import Hookpoint, read
from crosscoder.lm.load import LM, PROJECT, same_tokenizer
from crosscoder.lm.lockstep import Change, Lockstep, Mode
from crosscoder.lm.text import Document, Tokenizer, tokenize
from crosscoder.lm.tiny import TinyLM
from crosscoder.lm.where import Rule, where
from crosscoder.sources import Source, Sources
from crosscoder.types import Acts, Tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """Activations of all sources with the tokens beside them; `strings` are the tokens as text.

    `tokens.document` counts the prompts.
    """

    acts: Acts
    tokens: Tokens
    strings: list[str]
    sources: Sources

    def __getitem__(self, source: str) -> Tensor:
        return self.acts[:, self.sources.slice(source)]


class Pair:
    """Language models by name, each loaded when first asked for. They share one tokenizer, or their tokens are aligned.

    Args:
        lms: name → what builds the model: `{weights, adapter}` (see LM) or `{seed, drift}` (see TinyLM).
        layer: the decoder layer read by default.
        contrast: which two are compared, the finetuned one first.
        dtype: of the models' weights and activations, e.g. "bfloat16".
        residency: "sequential" keeps one model in memory at a time, "together" keeps all.
        device: "auto", "cpu", "cuda:0", …
        align: "spans" pairs the tokens of different tokenizers by the characters they cover (see align.py); None refuses them.
    """

    def __init__(
        self,
        lms: Mapping[str, Mapping],
        layer: int,
        contrast: Sequence[str] | None = ("chat", "base"),
        dtype: str = "bfloat16",
        residency: Literal["sequential", "together"] = "sequential",
        device: str = "auto",
        align: Literal["spans"] | None = None,
    ) -> None:
        self.lms: dict[str, LM | TinyLM] = {name: _build(spec) for name, spec in lms.items()}
        self.layer = layer
        self.contrast: tuple[str, str] | None = (contrast[0], contrast[1]) if contrast else None
        if not isinstance(named := getattr(torch, dtype, None), torch.dtype):
            raise UserError(f"'{dtype}' is no dtype; bfloat16 and float32 are")
        self.dtype = named
        if residency not in ("sequential", "together"):
            raise UserError(f"residency is 'sequential' or 'together', not '{residency}'")
        self.residency = residency
        if align not in (None, "spans"):
            raise UserError(f"align is 'spans' or null, not {align!r}")
        self.align = align
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self._models: dict[str, PreTrainedModel] = {}
        self._edits: set[str] = set()  # models that are being edited

    def __getitem__(self, name: str) -> PreTrainedModel:
        """The model, loaded if need be."""
        if name not in self.lms:
            raise UserError(f"no model '{name}'; there is {', '.join(self.lms)}")
        if name not in self._models and self.residency == "sequential" and not self._edits:
            self.release()
        return self._load(name)

    def _load(self, name: str) -> PreTrainedModel:
        if name not in self._models:
            self._models[name] = self.lms[name].load(self.dtype, self.device)
        return self._models[name]

    @contextmanager
    def edit(
        self, name: str, change: Change, mode: Mode = "paired", positions: str | Rule = "all"
    ) -> Iterator[PreTrainedModel]:
        """While open, an intervention acts on every forward pass of a model, `generate` with a cache included.

        Args:
            name: of the model.
            change: what is done to activations (crosscoder/interventions).
            mode: "paired" runs all models that the intervention reads in lockstep, and so has them all in memory; "solo"
                is the approximation that sees the edited model only (see `Crosscoder.encode`).
            positions: "all", "prompt", "response", "last" (of the prompt) or "first-N" (of the response); or a rule of your own.

        Leaving restores the model, also on error. Each model may be under one edit at a time.
        """
        if name not in {source.lm for source in change.sources}:
            known = ", ".join(dict.fromkeys(source.lm for source in change.sources))
            raise UserError(f"this intervention does not act on '{name}', but on {known}")
        if name in self._edits:
            raise UserError(f"'{name}' is being edited already: leave that edit first")
        if mode not in ("paired", "solo"):
            raise UserError(f"mode is 'paired' or 'solo', not '{mode}'")
        needed = [name] if mode == "solo" or change.local else list(dict.fromkeys(s.lm for s in change.sources))
        if missing := [lm for lm in needed if lm not in self.lms]:
            raise UserError(f"this intervention reads '{missing[0]}', but the pair has {', '.join(self.lms)}")
        tokenizer = self.tokenizers[name] if len(needed) == 1 else self.tokenizer
        rule = where(positions, tokenizer) if isinstance(positions, str) else positions
        if not self._edits and self.residency == "sequential":
            for lm in set(self._models) - set(needed):
                del self._models[lm]
        lockstep = Lockstep({lm: self._load(lm) for lm in needed}, name, change, rule, mode)
        self._edits.add(name)
        try:
            with lockstep() as model:
                yield model
        finally:
            self._edits.remove(name)

    @contextmanager
    def together(self) -> Iterator[None]:
        """While open, all models stay in memory, whatever residency says: for work that goes back and forth between them."""
        residency, self.residency = self.residency, "together"
        try:
            yield
        finally:
            self.residency = residency
            if residency == "sequential":
                self.release()

    def release(self) -> None:
        """Drop the loaded models from memory."""
        self._models.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer all models share, with whichever chat template one of them has.

        Raises:
            UserError: the models' tokenizers give different ids.
            NotApplicable: so they do, but their tokens are aligned.
        """
        if other := self._differing:
            first = next(iter(self.lms))
            if self.align:
                raise NotApplicable(f"this needs one tokenizer for all models, but {first} and {other} have their own")
            raise UserError(
                f"{first} and {other} have different tokenizers: their activations cannot be paired token by token; "
                "models.align=spans pairs the tokens that cover the same characters"
            )
        own = [lm.tokenizer() for lm in self.lms.values()]
        return next((tokenizer for tokenizer in own if tokenizer.chat_template), own[0])

    @property
    def aligned(self) -> bool:
        """Whether tokenizers differ, and tokens are paired by the characters they cover."""
        return self.align is not None and self._differing is not None

    @cached_property
    def _differing(self) -> str | None:
        """The first model whose tokenizer is not that of the first."""
        first, *others = self.tokenizers
        same = (same_tokenizer(self.tokenizers[first], self.tokenizers[other]) for other in others)
        return next((other for other, is_same in zip(others, same, strict=True) if not is_same), None)

    @cached_property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """Each model's own, one without a chat template with that of another."""
        found = {name: lm.tokenizer() for name, lm in self.lms.items()}
        template = next((tokenizer.chat_template for tokenizer in found.values() if tokenizer.chat_template), None)
        for name, tokenizer in found.items():
            if template and not tokenizer.chat_template:
                found[name] = copy.copy(tokenizer)
                found[name].chat_template = template
        return found

    @property
    def leader(self) -> str:
        """The model whose tokens stand beside activations where tokenizers differ: the first of the contrast, or of all."""
        return next(name for name in (*(self.contrast or ()), *self.lms) if name in self.lms)

    def sources(self, hookpoints: Sequence[str] | None = None, names: Sequence[str] | None = None) -> Sources:
        """The streams (model × hookpoint) and their widths; named after the model where there is one hookpoint only."""
        hookpoints = hookpoints or [f"resid_post.{self.layer}"]
        many = len(hookpoints) > 1
        streams = [
            (f"{lm}.{hookpoint}" if many else lm, lm, hookpoint)
            for hookpoint in hookpoints
            for lm in (names or self.lms)
        ]
        items = tuple(Source(name, self._width(lm, hookpoint), lm, hookpoint) for name, lm, hookpoint in streams)
        contrasted = self.contrast and {item.name for item in items}.issuperset(self.contrast)
        return Sources(items, self.contrast if contrasted else None)

    def _width(self, lm: str, hookpoint: str) -> int:
        skeleton = self.lms[lm].skeleton()
        module = Hookpoint.parse(hookpoint).module(skeleton)
        return int(module.in_features if hookpoint.startswith("attn_z") else skeleton.config.hidden_size)  # type: ignore

    def read(
        self,
        prompts: Document | Sequence[Document],
        hookpoints: Sequence[str] | None = None,
        batch_size: int = 16,
        opening: bool = False,
    ) -> Reading:
        """Activations of every model on one prompt or many; a prompt is text or a chat (a list of messages).

        With `opening` a chat is read on to where the assistant is to answer.

        Returns:
            One row per token, prompts one after the other, sources side by side in `acts [n_tokens, d_total]`. Where
            tokenizers are aligned, one row per pair of tokens.
        """
        sources = self.sources(hookpoints)
        texts = self._tokenized(_as_list(prompts), opening)
        columns = {source.name: [] for source in sources}
        for lm, encoded in texts.items():
            wanted = {Hookpoint.parse(source.hookpoint): source.name for source in sources if source.lm == lm}
            for start in range(0, len(encoded), batch_size):
                chunk = encoded[start : start + batch_size]
                ids = [[token for token, _ in tokens] for tokens, _ in chunk]
                for hookpoint, acts in self._read_batch(lm, list(wanted), ids).items():
                    columns[wanted[hookpoint]] += [row[rows] for row, (_, rows) in zip(acts, chunk, strict=True)]
        tokens = _tokens(texts[self.leader])
        strings = list(self.tokenizers[self.leader].convert_ids_to_tokens(tokens.ids.tolist()))
        acts = torch.cat([torch.cat(columns[name]) for name in sources.names], dim=-1).float().cpu()
        return Reading(acts, tokens, strings, sources)

    def _tokenized(self, prompts: Sequence[Document], opening: bool) -> dict[str, list[tuple[list[Token], list[int]]]]:
        """By model, of every prompt the tokens and which of them are read."""
        if not self.aligned or opening:  # which is the template's, and so no two tokenizers' alike
            each = [list(zip(*tokenize(self.tokenizer, prompt, opening), strict=True)) for prompt in prompts]
            return {lm: [(tokens, list(range(len(tokens)))) for tokens in each] for lm in self.lms}
        texts = {lm: [keyed(tokenizer, prompt) for prompt in prompts] for lm, tokenizer in self.tokenizers.items()}
        pairs = [paired(*(text.keys for text in prompt)) for prompt in zip(*texts.values(), strict=True)]
        return {
            lm: [(text.tokens, [pair[i] for pair in found]) for text, found in zip(texts[lm], pairs, strict=True)]
            for i, lm in enumerate(texts)
        }

    def _read_batch(self, lm: str, hookpoints: list[Hookpoint], rows: list[list[int]]) -> dict[Hookpoint, Tensor]:
        # padding on the right is out of sight of causal attention, so no mask is needed
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self.device)
        positions = torch.arange(ids.shape[1], device=self.device).expand_as(ids)
        return read(self[lm], hookpoints, ids, positions)

    def spec(self) -> dict:
        """What rebuilds this pair from a saved crosscoder: plain JSON, read back by `from_spec`."""
        return {
            "lms": {name: lm.spec() for name, lm in self.lms.items()},
            "layer": self.layer,
            "contrast": self.contrast and list(self.contrast),
            "dtype": str(self.dtype).removeprefix("torch."),
        } | ({"align": self.align} if self.align else {})

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any], device: str = "auto") -> "Pair":
        try:
            return cls(**spec, device=device)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise UserError(f"what the language models are said to be is no pair: {first_line(error)}") from error


def load_pair(name: str, **overrides) -> Pair:
    """The pair that `conf/models/NAME.yaml` describes, e.g. `load_pair("gemma3_270m", device="cuda")`."""
    file = PROJECT / "conf" / "models" / f"{name}.yaml"
    if not file.exists():
        raise UserError(
            f"no pair '{name}'; conf/models has {', '.join(sorted(p.stem for p in file.parent.glob('*.yaml')))}"
        )
    spec = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "_target_"}
    return Pair(**{**spec, **overrides})


def _build(spec: Mapping) -> LM | TinyLM:
    return TinyLM(**spec) if "seed" in spec else LM(**spec)


def _as_list(prompts: Any) -> list[Document]:
    one = isinstance(prompts, str) or isinstance(prompts[0], Mapping)
    return [prompts] if one else list(prompts)


def _tokens(encoded: Sequence[tuple[Sequence[Token], Sequence[int]]]) -> Tokens:
    """Of every prompt those tokens that are read."""
    rows = [(*tokens[i], i, number) for number, (tokens, read) in enumerate(encoded) for i in read]
    ids, kinds, positions, documents = torch.tensor(rows, dtype=torch.int64).view(-1, 4).T.contiguous()
    return Tokens(ids, positions, documents, kinds)
