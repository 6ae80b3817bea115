"""The language models that are compared."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import fields
from typing import Any, Literal

import torch

from crosscoder.core.intervention import Intervention
from crosscoder.core.reading import Reading
from crosscoder.core.sources import Source, Sources
from crosscoder.errors import UserError
from crosscoder.lm.architectures import get_width
from crosscoder.lm.chat.document import Document
from crosscoder.lm.editing.positions import PositionRule
from crosscoder.lm.hooks import Hookpoint
from crosscoder.lm.layout import Packing
from crosscoder.lm.loading.load import LM
from crosscoder.lm.loading.spec import read_spec
from crosscoder.lm.loading.tiny import TinyLM
from crosscoder.lm.loading.trust import NamedLM
from crosscoder.lm.measurements import Measurements
from crosscoder.lm.reading import read_prompts
from crosscoder.lm.residency import LoadedModels, Residency, choose_device
from crosscoder.lm.shared import SharedTokenizer
from crosscoder.lm.types import PreTrainedModel, Tokenizer
from crosscoder.values import require_choice, require_flag, require_names, require_whole

DEFAULT_PAIR = ("chat", "base")


class Pair:
    """Language models by name, with one tokenizer or with aligned tokens; loaded when first used.

    Args:
        lms: How each model is built, by its name: `{weights, adapter}` (see LM) or `{seed, drift}`
            (see TinyLM).
        layer: The decoder layer that is read by default.
        diff_pair: The two models to compare, the finetuned one first; the default compares them
            if the pair has them.
        dtype: Type of the models' weights and activations, e.g. "bfloat16".
        residency: "sequential" keeps one model in memory at a time, "together" keeps all.
        device: "auto", "cpu", "cuda:0", …
        align: "spans" pairs the tokens of different tokenizers by the characters they cover (see
            align.py); None refuses different tokenizers.
    """

    def __init__(
        self,
        lms: Mapping[str, Mapping],
        layer: int,
        diff_pair: Sequence[str] | None = DEFAULT_PAIR,
        dtype: str = "bfloat16",
        residency: Residency = "sequential",
        device: str = "auto",
        align: Literal["spans"] | None = None,
    ) -> None:
        self.lms: dict[str, LM | TinyLM] = _build_lms(lms)
        require_whole("layer", layer, least=0)
        self.layer = layer
        self.diff_pair = _parse_diff_pair(diff_pair, self.lms)
        self.dtype = _parse_dtype(dtype)
        require_choice("residency", residency, ("sequential", "together"))
        require_choice("align", align, ("spans", None))
        self.align = align
        self.device = choose_device(device)
        self.shared = SharedTokenizer(self.lms, is_alignable=align is not None)
        self.models = LoadedModels(self.lms, self.shared, self.dtype, self.device, residency)
        self.measurements = Measurements(self.models)

    def __repr__(self) -> str:
        lms = ", ".join(f"{name} {lm.describe()}" for name, lm in self.lms.items())
        dtype = str(self.dtype).removeprefix("torch.")
        compared = f"{' against '.join(self.diff_pair)}, " if self.diff_pair else ""
        return f"Pair({lms}; {compared}layer {self.layer}, {dtype} on {self.device})"

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype that the models compute in: `dtype`, or float32 where that is slow."""
        return self.models.compute_dtype

    def __getitem__(self, name: str) -> PreTrainedModel:
        """Return a model, and load it if it is not in memory."""
        return self.models.get(name)

    def in_dtype(self, dtype: str) -> "Pair":
        """Return a pair of the same models that compute in another dtype, loaded when first used.

        It is this pair if the models compute in that dtype already.
        """
        parsed = _parse_dtype(dtype)
        if parsed == self.compute_dtype:
            return self
        other = copy(self)
        residency = self.models.residency
        other.dtype = parsed
        other.models = LoadedModels(self.lms, self.shared, parsed, self.device, residency)
        other.measurements = Measurements(other.models)
        return other

    def keep_all_loaded(self) -> AbstractContextManager[None]:
        """Context manager: keep all models in memory, for work that alternates between them."""
        return self.models.keep_all()

    def reuse_clean_passes(self) -> AbstractContextManager[None]:
        """Context manager: as `keep_all_loaded`, for many edits of passes on the same tokens.

        What the models compute up to an edit is kept in memory, and used again by the next edit
        there.
        """
        return self.models.reuse_clean_passes()

    def release(self) -> None:
        """Drop the loaded models from memory."""
        self.models.release()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer all models share, with the first chat template that one of them has.

        Raises:
            UserError: The models' tokenizers return different ids.
            NotApplicable: The same, but their tokens are aligned.
        """
        return self.shared.tokenizer

    @property
    def tokenizers(self) -> dict[str, Tokenizer]:
        """Each model's own tokenizer; without a chat template it has another model's."""
        return self.shared.tokenizers

    @property
    def is_aligned(self) -> bool:
        """True if tokenizers differ, and tokens are paired by the characters they cover."""
        return self.shared.is_aligned

    @property
    def leader(self) -> str:
        """The model whose tokens describe activations: the first of the diff pair, or of all."""
        for name in self.diff_pair or ():
            if name in self.lms:
                return name
        return next(iter(self.lms))

    def require_ids(self, ids: Sequence[int], lms: Collection[str] | None = None) -> None:
        """Refuse token ids that one of the models, by default of all, has no embedding for.

        Raises:
            Unusable: With the token, and the sizes of the tokenizer and the embedding.
        """
        self.shared.require_ids(ids, self.lms if lms is None else lms)

    def name_tokens(self, ids: Sequence[int], lm: str | None = None) -> list[str]:
        """Write token ids as text, as one model's tokenizer does, by default the leader's.

        An embedding may have more rows than there are tokens. The id of such a row is written as a
        number.
        """
        names = self.tokenizers[lm or self.leader].convert_ids_to_tokens(list(ids))
        strings = []
        for number, token in zip(ids, names, strict=True):
            strings.append(f"<id {number}>" if token is None else token)
        return strings

    def sources(
        self, hookpoints: Sequence[str] | None = None, names: Sequence[str] | None = None
    ) -> Sources:
        """Return the streams of these models at these hookpoints, with their widths.

        Args:
            hookpoints: By default the residual stream after `layer`.
            names: The models, by default all.

        Returns:
            The streams, named after their models; `MODEL.HOOKPOINT` if there are several
            hookpoints.
        """
        hookpoints = self._parse_hookpoints(hookpoints)
        if names is not None:
            require_names("models", names, self.lms)
        items = []
        for hookpoint in hookpoints:
            for lm in names or self.lms:
                name = f"{lm}.{hookpoint}" if len(hookpoints) > 1 else lm
                items.append(Source(name, self._get_width(lm, hookpoint), lm, hookpoint))
        found = {item.name for item in items}
        is_compared = self.diff_pair is not None and found.issuperset(self.diff_pair)
        return Sources(tuple(items), self.diff_pair if is_compared else None)

    def _parse_hookpoints(self, hookpoints: Any) -> list[str]:
        """Return a list of hookpoints; None stands for the residual stream after `layer`."""
        if hookpoints is None:
            return [f"resid_post.{self.layer}"]
        is_list = isinstance(hookpoints, Sequence) and not isinstance(hookpoints, str)
        if not is_list or not hookpoints:
            raise UserError(
                f"hookpoints are a list, e.g. ['resid_post.{self.layer}'], not {hookpoints!r:.80}"
            )
        if len(set(hookpoints)) < len(hookpoints):
            raise UserError(f"hookpoints are different, but found {list(hookpoints)}")
        return list(hookpoints)

    def _get_width(self, lm: str, hookpoint: str) -> int:
        skeleton = self.lms[lm].build_skeleton()
        parsed = Hookpoint.parse(hookpoint)
        parsed.get_module(skeleton)  # refuses what the model does not have
        return get_width(skeleton, parsed.layer, parsed.site)

    def choose_packing(self, sources: Sources, seq_len: int) -> Packing:
        """Choose how documents share rows of `seq_len` tokens so that none sees another.

        Raises:
            UserError: No packing is right for all models, or a hookpoint is not what its name says.
        """
        return self.measurements.choose_packing(sources, seq_len)

    def read(
        self,
        prompts: Document | Sequence[Document],
        hookpoints: Sequence[str] | None = None,
        batch_size: int = 16,
        opening: bool = False,
    ) -> Reading:
        """Read the activations of every model on prompts.

        Args:
            prompts: A text, a chat, or a list of them. A text is read as it is. A chat is a list
                of messages, e.g. `make_chat("Why?")`, and is rendered by the chat template.
            hookpoints: By default the residual stream after `layer`.
            batch_size: Prompts in one forward pass.
            opening: Whether a chat is read up to the point where the assistant answers.

        Returns:
            One row per token, prompts one after the other, sources side by side in `acts [n_tokens,
            d_total]`. If tokenizers are aligned, one row per pair of tokens.
        """
        require_whole("batch_size", batch_size)
        require_flag("opening", opening)
        return read_prompts(self, prompts, self.sources(hookpoints), batch_size, opening)

    def edit(
        self,
        name: str,
        change: Intervention | Sequence[Intervention],
        mode: Literal["paired", "solo"] = "paired",
        positions: str | PositionRule = "all",
    ) -> AbstractContextManager[PreTrainedModel]:
        """Context manager: let an intervention act on every forward pass of a model.

        `generate` is included. With any KV cache or none, the result is that of running all models
        anew on the whole conversation for every token. Whatever cannot guarantee this is refused:
        beam search, assisted and contrastive decoding, quantized caches, caches that hold tokens
        from outside the edit or are cropped or rearranged in it, compiled models.

        At the end the model is restored, also after an error. Each model may be under one edit at a
        time.

        Args:
            name: The model to edit.
            change: The intervention (see crosscoder/interventions). Several on the same sources act
                on one batch at once: its rows are as many equal blocks, in this order.
            mode: "paired" runs all models that the intervention reads in lockstep, and so keeps
                them all in memory; "solo" is the approximation that runs the edited model only (see
                `Crosscoder.encode`).
            positions: "all", "prompt", "response", "last" (of the prompt) or "first-N" (of the
                response); or a rule of your own (see crosscoder/lm/editing/positions.py). The
                response begins after the last opening of the chat template. Without one, it begins
                after the prompt of `generate`, or after the first forward pass of a conversation.
                Further passes continue a conversation if its cache is passed on; without a cache,
                only `generate` knows where its prompt ends.
        """
        from crosscoder.lm.edits import open_edit  # imports transformers

        return open_edit(self, name, change, mode, positions)

    def spec(self) -> dict[str, Any]:
        """Return plain JSON that rebuilds this pair from a saved crosscoder (see `from_spec`)."""
        spec = {
            "lms": {name: lm.spec() for name, lm in self.lms.items()},
            "layer": self.layer,
            "contrast": self.diff_pair and list(self.diff_pair),
            "dtype": str(self.dtype).removeprefix("torch."),
        }
        if self.align:
            spec["align"] = self.align
        return spec

    @classmethod
    def from_spec(cls, spec: Any, device: str = "auto", is_trusted: bool = True) -> "Pair":
        """Build a pair from what `spec` returned.

        Args:
            spec: Plain JSON.
            device: As in the constructor.
            is_trusted: Whether models are loaded that the user has not used before on this machine
                (see trust.py).

        Raises:
            UserError: The JSON does not describe a pair.
        """
        content = read_spec(spec)
        content["diff_pair"] = content.pop("contrast", None)
        pair = cls(**content, device=device)
        if not is_trusted:
            for name, lm in pair.lms.items():
                if isinstance(lm, LM):
                    pair.lms[name] = NamedLM(lm.weights, lm.adapter)
        return pair


def _build_lms(lms: Any) -> dict[str, LM | TinyLM]:
    """Build the models from their specs."""
    expected = "lms are models by name, e.g. {'base': {'weights': 'google/gemma-3-270m'}, …}"
    if not isinstance(lms, Mapping) or not lms:
        raise UserError(f"{expected}, not {lms!r:.80}")
    built: dict[str, LM | TinyLM] = {}
    for name, spec in lms.items():
        if not isinstance(spec, Mapping):
            raise UserError(f"{expected}, but '{name}' is {spec!r:.80}")
        kind = TinyLM if "seed" in spec else LM
        known = [field.name for field in fields(kind)]
        unknown = [str(key) for key in spec if key not in known]
        if unknown or ("weights" not in spec and kind is LM):
            raise UserError(
                f"model '{name}' has {', '.join(map(str, spec)) or 'nothing'}, "
                f"but a model is given by {', '.join(known)}"
            )
        built[name] = kind(**spec)
    return built


def _parse_diff_pair(diff_pair: Any, lms: Collection[str]) -> tuple[str, str] | None:
    """Return the two models to compare; None if none are, or if one of them is not there."""
    if not diff_pair:
        return None
    is_pair = isinstance(diff_pair, Sequence) and not isinstance(diff_pair, str)
    if is_pair and tuple(diff_pair) == DEFAULT_PAIR:
        return DEFAULT_PAIR  # pairs of other models simply have no compared pair
    is_known = is_pair and all(_is_model_or_source(name, lms) for name in diff_pair)
    if not is_known or len(diff_pair) != 2 or diff_pair[0] == diff_pair[1]:
        raise UserError(
            "diff_pair is two different models, the finetuned one first, "
            f"of {', '.join(lms)}, or null; not {diff_pair!r:.80}"
        )
    return diff_pair[0], diff_pair[1]


def _is_model_or_source(name: Any, lms: Collection[str]) -> bool:
    """Return whether a name is that of a model, or of a source `MODEL.HOOKPOINT`."""
    return name in lms or any(str(name).startswith(f"{lm}.") for lm in lms)


def _parse_dtype(name: str) -> torch.dtype:
    require_choice("dtype", name, ("bfloat16", "float32", "float16", "float64"))
    return getattr(torch, name)
