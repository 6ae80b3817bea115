"""The crosscoder: one shared sparse code of several activation streams, one decoder per stream.

    f(x) = σ(W_enc x + b_enc)          x = [x_base; x_chat; …]
    x̂    = W_dec f + b_dec             x̂ = [x̂_base; x̂_chat; …]

Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing". A latent is a
row in both matrices; a source is a slice of their columns. Training uses centred and scaled
activations; a saved crosscoder is folded, so that it takes raw ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crosscoder.core import kernels
from crosscoder.core.activations import Activation
from crosscoder.core.arithmetic import choose_product_dtype
from crosscoder.core.init import TransposedDecoder
from crosscoder.core.inputs import (
    complete_sources,
    require_acts,
    require_code,
    require_latents,
    require_mode,
    require_readable,
    require_units,
    select_sources,
)
from crosscoder.core.reading import Reading
from crosscoder.core.sources import Sources
from crosscoder.core.sparse import Code, DenseCode, Index, SparseCode, product
from crosscoder.core.types import Acts, Dense, PerLatent
from crosscoder.distributed import BY_TOKENS, Parallel
from crosscoder.errors import UserError
from crosscoder.values import require_choice, require_whole

DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True)
class Output:
    """Outputs of a forward pass.

    `pre(latents)` recomputes pre-activations [batch, len(latents)] with gradient. `every_pre` is
    all of them, for activations that compute their values themselves, else None.
    """

    code: Code
    recon: Acts = field(repr=False)
    pre: Callable[[Tensor], Tensor] = field(repr=False)
    every_pre: Dense | None = field(default=None, repr=False)


class Crosscoder(nn.Module):
    """Encoder, activation and decoders of a crosscoder, in training units or folded.

    Args:
        sources: Streams, in order.
        n_latents: Size of the dictionary.
        activation: Rule for which latents are active (crosscoder/core/activations).
        init: Initial weights, drawn from `seed`.
        seed: Random seed of the initial weights.
        gemm_dtype: Dtype of matrix products in training; inference uses that of the weights.
    """

    mean: Tensor
    scale: Tensor
    frozen_scale: Tensor
    groups: Tensor | None
    parallel: Parallel

    def __init__(
        self,
        sources: Sources,
        n_latents: int,
        activation: Activation,
        init: Callable[..., tuple[Tensor, Tensor]] = TransposedDecoder(),  # noqa: B008 (frozen)
        seed: int = 0,
        gemm_dtype: str = "bfloat16",
    ) -> None:
        super().__init__()
        _require_parts(sources, activation)
        require_whole("n_latents", n_latents)
        require_latents(activation.arguments(), n_latents)
        require_whole("seed", seed, least=0)
        require_choice("gemm_dtype", gemm_dtype, DTYPES)
        self.sources = sources
        self.n_latents = n_latents
        self.activation = activation
        self.gemm_dtype = getattr(torch, gemm_dtype)
        W_enc, W_dec = init(sources, n_latents, torch.Generator().manual_seed(seed))
        self.W_enc = nn.Parameter(W_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.b_dec = nn.Parameter(torch.zeros(sources.d_total))
        # training units are (raw − mean) / scale; kept after folding, because norm scores are
        # compared in those units
        self.register_buffer("mean", torch.zeros(sources.d_total))
        self.register_buffer("scale", torch.ones(sources.d_total))
        self.register_buffer("frozen_scale", torch.full((n_latents,), torch.nan))
        # rows that are one latent, which codes differently per source, have the same number; None:
        # every row is a latent of its own
        self.register_buffer("groups", None)
        self.provenance: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}  # of the run that the crosscoder was loaded from
        self.origin: Path | None = None  # folder that it was loaded from
        self.set_parallel(BY_TOKENS)

    # --- computation ---

    @torch.no_grad()
    def encode(
        self,
        acts: Acts | Reading,
        mode: Literal["paired", "solo"] = "paired",
        source: str | None = None,
    ) -> Code:
        """Return the code of activations, without a gradient; `forward` gives one with a gradient.

        Args:
            acts: Activations [batch, d_total], or a `Reading`, whose tokens the code then has.
                Batch and sequence must be flattened to one axis of tokens.
            mode: "solo" approximates the code from one source only: a missing source is taken to
                equal it, or to equal its own mean where widths differ. How well this agrees with
                the paired code is an empirical question.
            source: Source of `mode="solo"`; None: the first of the compared pair (chat).

        Raises:
            UserError: The activations have another shape, are no finite floating-point numbers, or
                there is no such mode or source.
        """
        require_mode(mode, source, self.sources)
        if isinstance(acts, Reading):
            x = select_sources(acts, self.sources).to(self.W_enc.device)
        else:
            x = acts
        if mode == "solo":
            x = self.complete(x, source or self.sources.primary)
        require_acts(x, self.sources)
        require_readable(x, self.W_enc.device)
        code, _ = self._encode(x)
        if isinstance(acts, Reading):
            return code.to_sparse().with_tokens(acts.tokens, acts.strings)
        return code

    def decode(self, code: Code, source: str | None = None) -> Tensor:
        """Return x̂ [batch, d_total], or one source's slice of it.

        It has a gradient if the code has one.

        Raises:
            UserError: This is no code of such a crosscoder, or there is no such source.
        """
        require_code(code, len(self.b_enc))
        with torch.set_grad_enabled(torch.is_grad_enabled() and code.requires_grad):
            return self._decode(code, source)

    def _decode(self, code: Code, source: str | None = None) -> Tensor:
        if source is None:
            return self.parallel.all_reduce_sum(code.decode(self.W_dec)) + self.b_dec
        columns = self.sources.slice(source)
        return code.decode(self.W_dec[:, columns].contiguous()) + self.b_dec[columns]

    def forward(self, acts: Acts) -> Output:
        """Return the code and the reconstruction of activations [batch, d_total], with gradients.

        Batch and sequence must be flattened to one axis of tokens.
        """
        code, every_pre = self._encode(acts)

        def pre(latents: Tensor) -> Dense:
            return self._pre_activations_of(latents, acts)

        return Output(code, self._decode(code), pre, every_pre)

    def _encode(self, acts: Acts) -> tuple[Code, Dense | None]:
        """Return the code, and all pre-activations if the activation computed it from them."""
        require_acts(acts, self.sources)
        pre = self._pre_activations(acts)
        values = self.activation.compute_values(pre)
        if values is not None:
            return DenseCode(values.to(acts.dtype), self.product_dtype), pre
        active = self._select(pre)
        if isinstance(active, Index):
            entries = active.take(pre.detach()).to(acts.dtype)
            return SparseCode.encode(acts, self.W_enc, self.b_enc, active, entries), None
        # only a dense code keeps `pre` in memory, for its gradient
        return DenseCode(torch.where(active, pre, 0).to(acts.dtype), self.product_dtype), None

    @torch.no_grad()
    def _select(self, pre: Dense) -> Index | Tensor:
        """Return the active entries: an index if codes are sparse, else a boolean mask."""
        active = self.activation.select(pre.detach(), self.selection_scale)
        if isinstance(active, Index) and (kernels.is_reference() or active.is_dense()):
            return active.mask()
        return active

    def _pre_activations(self, acts: Acts) -> Dense:
        """Return all pre-activations: the one dense product of a training step."""
        dtype = self.product_dtype
        return torch.addmm(self.b_enc.to(dtype), acts.to(dtype), self.W_enc.to(dtype).T)

    def _pre_activations_of(self, latents: Tensor, acts: Acts) -> Dense:
        W_enc = self.W_enc.index_select(0, latents)
        return product(acts, W_enc.T, self.product_dtype) + self.b_enc[latents]

    @property
    def product_dtype(self) -> torch.dtype:
        """Return the dtype of matrix products: in training `gemm_dtype`, else the weights'.

        On a CPU without fast products of half precision it is float32.
        """
        if self.training and not kernels.is_reference():
            return choose_product_dtype(self.gemm_dtype, self.W_enc.device.type)
        return self.W_enc.dtype

    def complete(self, acts: Tensor, source: str) -> Acts:
        """Complete one source's activations [batch, d_source] to those of all sources.

        The others are taken to equal them, or their own mean where widths differ.
        """
        means = self.sources.split(self.mean)
        return complete_sources(acts, source, self.sources, means)

    def set_parallel(self, parallel: Parallel) -> None:
        """Set how the processes of a run divide a training step; not saved."""
        self.parallel = parallel
        self.activation.parallel = parallel

    # --- views ---

    def __repr__(self) -> str:
        reads = "reads raw activations" if self.folded else "reads activations in training units"
        return (
            f"Crosscoder({self.sources.describe()}, {self.n_latents:,} latents, "
            f"{self.activation!r}, {reads})"
        )

    def decoder(self, source: str) -> Tensor:
        """Return W_dec of one source, [n_latents, d_source], a view."""
        return self.W_dec[:, self.sources.slice(source)]

    def encoder(self, source: str) -> Tensor:
        """Return W_enc of one source, [n_latents, d_source], a view."""
        return self.W_enc[:, self.sources.slice(source)]

    def decoder_norms(self, units: Literal["training", "raw"] = "training") -> Tensor:
        """Return ‖d_j^s‖, [n_sources, n_latents].

        Of a folded crosscoder they are by default in the units it was trained in.
        """
        require_choice("units", units, ("training", "raw"))
        W_dec = self.W_dec / self.scale if self.folded and units == "training" else self.W_dec
        if len(set(self.sources.widths)) == 1:  # one pass instead of one per source
            return W_dec.unflatten(-1, (len(self.sources), -1)).norm(dim=-1).T
        by_source = W_dec.split(self.sources.widths, dim=-1)
        return torch.stack([decoder.norm(dim=-1) for decoder in by_source])

    @property
    def selection_scale(self) -> PerLatent:
        """Return the weights n_j of pre-activations in selection.

        By default they are Σ_s ‖d_j^s‖ in training units. Folding fixes them.
        """
        if self.folded:
            return self.frozen_scale
        return self.activation.selection_scale(self.decoder_norms())

    @property
    def folded(self) -> bool:
        """Return whether this crosscoder takes raw activations."""
        return not bool(self.frozen_scale[0].isnan())

    # --- units ---

    def set_units(self, mean: Tensor, scale: Tensor) -> None:
        """Set the training units (raw − mean) / scale, both [d_total].

        Raises:
            UserError: They have another shape or are not finite, or a scale is not positive.
        """
        require_units(mean, scale, self.sources.d_total)
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def normalise(self, acts: Acts) -> Acts:
        """Return raw activations in training units."""
        return (acts - self.mean) / self.scale

    @torch.no_grad()
    def fold(self) -> "Crosscoder":
        """Return the same crosscoder on raw activations, for inference.

        Mean and scale are absorbed, selection scale and threshold are fixed:

            W_enc/σ, b_enc − (W_enc/σ)·μ, W_dec·σ, b_dec·σ + μ
        """
        if self.folded:
            return self
        W_enc, b_enc = self.activation.fold_encoder(self.W_enc, self.b_enc)
        folded = Crosscoder.from_weights(
            self.sources,
            (W_enc, b_enc, self.W_dec, self.b_dec),
            self.activation.to_inference(self.selection_scale),
            units=(self.mean, self.scale),
            selection_scale=self.selection_scale,
            groups=self.groups,
        )
        folded.provenance = dict(self.provenance)
        return folded

    @classmethod
    @torch.no_grad()
    def from_weights(
        cls,
        sources: Sources,
        weights: tuple[Tensor, Tensor, Tensor, Tensor],
        activation: Activation,
        units: tuple[Tensor, Tensor] | None = None,
        selection_scale: PerLatent | None = None,
        groups: Tensor | None = None,
    ) -> "Crosscoder":
        """Build a folded crosscoder from trained weights.

        Args:
            sources: Streams, in order.
            weights: W_enc [n_latents, d_total], b_enc [n_latents], W_dec [n_latents, d_total],
                b_dec [d_total].
            activation: Activation that inference uses.
            units: (mean, scale), each [d_total], if the weights take (raw − mean) / scale; None:
                they take raw activations.
            selection_scale: [n_latents]; None: 1.
            groups: [n_latents], the latent of each row; None: each row is one.
        """
        W_enc, b_enc, W_dec, b_dec = weights
        mean, scale = units or (torch.zeros_like(b_dec), torch.ones_like(b_dec))
        if units:
            require_units(mean, scale, sources.d_total)
            W_enc = W_enc / scale
            W_dec = W_dec * scale
            # in float64, because differences of large products would lose digits
            b_enc = b_enc - (W_enc.double() @ mean.double()).to(b_enc)
        if selection_scale is None:
            selection_scale = torch.ones_like(b_enc)
        folded = cls(sources, len(b_enc), activation, init=lambda *_: (W_enc, W_dec))
        folded.b_enc.copy_(b_enc)
        folded.b_dec.copy_(b_dec * scale + mean)
        folded.mean = mean.clone()
        folded.scale = scale.clone()
        folded.frozen_scale = selection_scale.detach().clone()
        folded.groups = None if groups is None else groups.clone()
        return folded.to(W_enc.device).eval()

    @torch.no_grad()
    def replace(
        self, sources: Sources | None = None, activation: Activation | None = None
    ) -> "Crosscoder":
        """Return a copy with other names for its sources, or with another activation.

        The copy of this folded crosscoder shares its weights.
        """
        new = Crosscoder.from_weights(
            sources or self.sources,
            (self.W_enc, self.b_enc, self.W_dec, self.b_dec),
            activation or self.activation,
            selection_scale=self.frozen_scale,
            groups=self.groups,
        )
        new.mean = self.mean
        new.scale = self.scale
        new.provenance = dict(self.provenance)
        return new

    # --- files (crosscoder/core/checkpoint.py) ---

    def save_pretrained(self, folder: str | Path) -> Path:
        """Fold, and write `model.safetensors` and `config.json`, complete or not at all."""
        from crosscoder.core import checkpoint

        return checkpoint.save(self, folder)

    def config(self) -> dict[str, Any]:
        """Return the content of `config.json`: plain JSON."""
        from crosscoder.core import checkpoint

        return checkpoint.build_config(self)

    @classmethod
    def from_pretrained(
        cls, path: str | Path, activation_module: str | None = None
    ) -> "Crosscoder":
        """Load a saved crosscoder, in eval mode.

        Args:
            path: Its folder, a run folder that holds one, or a hub id.
            activation_module: Module, e.g. "my_package.my_activation", that defines its activation
                if that is none of the package's. It is imported, so name only code you trust; a
                file cannot name one.

        Raises:
            UserError: There is no usable crosscoder.
        """
        from crosscoder.core import checkpoint

        return checkpoint.load(path, activation_module)

    def find_file(self, name: str) -> Path:
        """Find a file beside the folder that this crosscoder was loaded from.

        If it came from the hub, the file is downloaded now.

        Args:
            name: `results/latents.parquet`, `results/contexts.parquet` or `report.html`.

        Raises:
            UserError: There is no such file, or the crosscoder was not loaded from a folder.
        """
        from crosscoder.io.results import find_file

        if self.origin is None:
            raise UserError(f"no {name}: this crosscoder was not loaded from a folder or the hub")
        return find_file(self.origin, name)

    def push_to_hub(
        self,
        repo: str,
        private: bool = True,
        metrics: Mapping[str, Any] | None = None,
        results: bool | str | Path = False,
    ) -> str:
        """Upload to the hub with a model card (README.md) and return the address.

        This needs a login (`hf auth login`). Paths of this machine are left out.

        Args:
            repo: `owner/name`; created if it does not exist.
            private: Whether a new repository is private.
            metrics: Figures for the card; None: `metrics.json` of the run folder that the
                crosscoder was loaded from, if any.
            results: True: also the table of latents, their contexts and the report of the run
                folder that the crosscoder was loaded from. A path: those of that run.

        Raises:
            UserError: The results are missing, or belong to another crosscoder.
        """
        from crosscoder.core import checkpoint

        return checkpoint.push_to_hub(self, repo, private, metrics, results)


def _require_parts(sources: Any, activation: Any) -> None:
    """Refuse what is no `Sources` or no activation."""
    if not isinstance(sources, Sources):
        raise UserError(
            "sources are a Sources object, e.g. pair.sources() or "
            f"Sources((Source('base', 640), Source('chat', 640))), not {sources!r:.80}"
        )
    if not isinstance(activation, Activation):
        raise UserError(
            "activation is an object of crosscoder/core/activations, e.g. BatchTopK(32), "
            f"not {activation!r:.80}"
        )
