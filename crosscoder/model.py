"""The crosscoder: one shared sparse code of several activation streams, one decoder per stream.

    f(x) = σ(W_enc x + b_enc)          x = [x_base; x_chat; …]
    x̂    = W_dec f + b_dec             x̂ = [x̂_base; x̂_chat; …]

Lindsey et al. 2024, "Sparse Crosscoders for Cross-Layer Features and Model Diffing". A latent is a row in both matrices;
a source is a slice of their columns. Training sees centred and scaled activations; what is saved is folded, so that it
eats raw ones.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crosscoder import activations, kernels, processes
from crosscoder.activations import Activation
from crosscoder.card import model_card
from crosscoder.errors import UserError, first_line, writing
from crosscoder.hub import snapshot
from crosscoder.init import TransposedDecoder
from crosscoder.lm import Reading
from crosscoder.sources import Sources
from crosscoder.sparse import Code, DenseCode, Index, SparseCode, product
from crosscoder.types import Acts, Dense, PerLatent

FORMAT = 1


@dataclass(frozen=True)
class Output:
    """What a forward pass gives.

    `pre(latents)` recomputes their pre-activations [batch, len(latents)] with gradient; `every_pre` is all of them, where the
    activation computes its values itself.
    """

    code: Code
    recon: Acts
    pre: Callable[[Tensor], Tensor]
    every_pre: Dense | None = None


class Crosscoder(nn.Module):
    """See the module's docstring.

    Args:
        sources: the streams, in order.
        n_latents: size of the dictionary.
        activation: which latents are active (crosscoder/activations).
        init: initial weights, drawn from `seed`.
        gemm_dtype: of matrix products in training; inference is in the weights' own.
    """

    mean: Tensor
    scale: Tensor
    frozen_scale: Tensor
    groups: Tensor | None

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
        if not isinstance(n_latents, int) or n_latents < 1:
            raise UserError(f"n_latents is a whole number from 1, not {n_latents!r}")
        self.sources, self.n_latents, self.activation = sources, n_latents, activation
        self.gemm_dtype = getattr(torch, gemm_dtype)
        W_enc, W_dec = init(sources, n_latents, torch.Generator().manual_seed(seed))
        self.W_enc = nn.Parameter(W_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_enc = nn.Parameter(torch.zeros(n_latents))
        self.b_dec = nn.Parameter(torch.zeros(sources.d_total))
        # training units are (raw − mean) / scale; kept after folding, because norm scores are compared in those units
        self.register_buffer("mean", torch.zeros(sources.d_total))
        self.register_buffer("scale", torch.ones(sources.d_total))
        self.register_buffer("frozen_scale", torch.full((n_latents,), torch.nan))
        # rows that are one latent which codes differently per source carry one number; None: every row is a latent of its own
        self.register_buffer("groups", None)
        self.provenance: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}  # of the run it was loaded from

    # --- the computation ---

    def encode(
        self, acts: Acts | Reading, mode: Literal["paired", "solo"] = "paired", source: str | None = None
    ) -> Code:
        """The code of activations [batch, d_total], or of a `Reading`, whose tokens then stand beside it.

        `mode="solo"` is an approximation that sees one source only (default: the contrast's first, i.e. chat): a missing
        source is taken to equal it, or to equal its own mean where widths differ. Its agreement with the paired code is
        an empirical matter.
        """
        reading = acts if isinstance(acts, Reading) else None
        if reading and not set(self.sources.items) <= set(reading.sources.items):
            read, wanted = ([f"{s.lm} {s.hookpoint}" for s in sources] for sources in (reading.sources, self.sources))
            raise UserError(
                f"activations were read at {', '.join(read)}, but the crosscoder expects {', '.join(wanted)}"
            )
        if isinstance(acts, Reading):  # which may hold more than is needed, in another order
            x = torch.cat([acts[name] for name in self.sources.names], dim=-1).to(self.W_enc.device)
        else:
            x = acts
        if mode == "solo":
            x = self.complete(x, source or (self.sources.contrast or self.sources.names)[0])
        code, _ = self._code(x)
        if reading is None:
            return code
        sparse = code.to_sparse() if isinstance(code, DenseCode) else code
        return sparse.with_tokens(reading.tokens, reading.strings)

    def decode(self, code: Code, source: str | None = None) -> Tensor:
        """x̂ [batch, d_total], or one source's slice of it."""
        if source is None:
            return processes.summed(code.decode(self.W_dec)) + self.b_dec
        part = self.sources.slice(source)
        return code.decode(self.W_dec[:, part].contiguous()) + self.b_dec[part]

    def forward(self, acts: Acts) -> Output:
        """Code and reconstruction of activations [batch, d_total]."""
        code, every_pre = self._code(acts)
        return Output(code, self.decode(code), lambda latents: self._pre_of(latents, acts), every_pre)

    def _code(self, acts: Acts) -> tuple[Code, Dense | None]:
        if acts.shape[-1] != self.sources.d_total:
            raise UserError(
                f"the crosscoder expects {self.sources.describe()}, not activations of width {acts.shape[-1]}"
            )
        pre = self._pre(acts)  # only a dense code keeps it for its gradient
        if (values := self.activation.values(pre)) is not None:
            return DenseCode(values.to(acts.dtype), self.product_dtype), pre
        with torch.no_grad():
            chosen = self.activation.select(pre.detach(), self.selection_scale)
            if isinstance(chosen, Index) and (kernels.reference() or chosen.is_dense()):
                chosen = chosen.mask()
        if isinstance(chosen, Index):
            values = chosen.take(pre.detach()).to(acts.dtype)
            return SparseCode.encode(acts, self.W_enc, self.b_enc, chosen, values), None
        return DenseCode(torch.where(chosen, pre, 0).to(acts.dtype), self.product_dtype), None

    def _pre(self, acts: Acts) -> Dense:
        """The one dense product of a training step."""
        low = self.product_dtype
        return torch.addmm(self.b_enc.to(low), acts.to(low), self.W_enc.to(low).T)

    def _pre_of(self, latents: Tensor, acts: Acts) -> Dense:
        return product(acts, self.W_enc.index_select(0, latents).T, self.product_dtype) + self.b_enc[latents]

    @property
    def product_dtype(self) -> torch.dtype:
        """Of matrix products: `gemm_dtype` in training, else the weights' own."""
        return self.gemm_dtype if self.training and not kernels.reference() else self.W_enc.dtype

    def complete(self, acts: Tensor, source: str) -> Acts:
        """One source's activations [batch, d_source], the others taken to equal them, or their own mean where widths differ."""
        present = self.sources[source]
        if acts.shape[-1] == self.sources.d_total:
            acts = acts[..., self.sources.slice(source)]
        if acts.shape[-1] != present.width:
            raise UserError(f"solo activations of '{source}' have width {present.width}, not {acts.shape[-1]}")
        means = self.sources.split(self.mean)
        return torch.cat(
            [acts if s.width == present.width else means[s.name].expand(len(acts), -1) for s in self.sources], dim=-1
        )

    # --- views ---

    def decoder(self, source: str) -> Tensor:
        """W_dec of one source, [n_latents, d_source], a view."""
        return self.W_dec[:, self.sources.slice(source)]

    def encoder(self, source: str) -> Tensor:
        """W_enc of one source, [n_latents, d_source], a view."""
        return self.W_enc[:, self.sources.slice(source)]

    def decoder_norms(self, units: Literal["training", "raw"] = "training") -> Tensor:
        """‖d_j^s‖, [n_sources, n_latents]; of a folded crosscoder by default in the units it was trained in."""
        W_dec = self.W_dec / self.scale if self.folded and units == "training" else self.W_dec
        if len(set(self.sources.widths)) == 1:  # one pass instead of one per source
            return W_dec.unflatten(-1, (len(self.sources), -1)).norm(dim=-1).T
        return torch.stack([part.norm(dim=-1) for part in W_dec.split(self.sources.widths, dim=-1)])

    @property
    def selection_scale(self) -> PerLatent:
        """n_j, by default Σ_s ‖d_j^s‖ in training units, by which selection weighs pre-activations; fixed once folded."""
        return self.frozen_scale if self.folded else self.activation.weigh(self.decoder_norms())

    @property
    def folded(self) -> bool:
        """Whether this crosscoder eats raw activations."""
        return not bool(self.frozen_scale[0].isnan())

    # --- normalisation ---

    def set_units(self, mean: Tensor, scale: Tensor) -> None:
        """Training units are (raw − mean) / scale, both [d_total]."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def normalise(self, acts: Acts) -> Acts:
        """Raw activations in training units."""
        return (acts - self.mean) / self.scale

    @torch.no_grad()
    def fold(self) -> "Crosscoder":
        """The same crosscoder on raw activations, for inference: mean and scale absorbed, selection scale and threshold fixed.

        W_enc/σ, b_enc − (W_enc/σ)·μ, W_dec·σ, b_dec·σ + μ.
        """
        if self.folded:
            return self
        W_enc, b_enc = self.activation.encoder(self.W_enc, self.b_enc)
        folded = Crosscoder.of(
            self.sources,
            (W_enc, b_enc, self.W_dec, self.b_dec),
            self.activation.frozen(self.selection_scale),
            units=(self.mean, self.scale),
            selection_scale=self.selection_scale,
            groups=self.groups,
        )
        folded.provenance = dict(self.provenance)
        return folded.to(self.W_enc.device).eval()

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        sources: Sources,
        weights: tuple[Tensor, Tensor, Tensor, Tensor],
        activation: Activation,
        units: tuple[Tensor, Tensor] | None = None,
        selection_scale: PerLatent | None = None,
        groups: Tensor | None = None,
    ) -> "Crosscoder":
        """A folded crosscoder made of weights that were trained already.

        Args:
            sources: the streams, in order.
            weights: W_enc [n_latents, d_total], b_enc [n_latents], W_dec [n_latents, d_total], b_dec [d_total].
            activation: what inference uses.
            units: (mean, scale), each [d_total], where the weights read (raw − mean) / scale; None: they read raw activations.
            selection_scale: [n_latents]; None: 1.
            groups: [n_latents], which rows are one latent; None: each is its own.
        """
        W_enc, b_enc, W_dec, b_dec = weights
        mean, scale = units or (torch.zeros_like(b_dec), torch.ones_like(b_dec))
        if units:
            W_enc, W_dec = W_enc / scale, W_dec * scale
        folded = cls(sources, len(b_enc), activation, init=lambda *_: (W_enc, W_dec))
        folded.b_enc.copy_(b_enc - (W_enc.double() @ mean.double()).to(b_enc) if units else b_enc)
        folded.b_dec.copy_(b_dec * scale + mean)
        folded.mean, folded.scale = mean.clone(), scale.clone()
        folded.frozen_scale = torch.ones_like(b_enc) if selection_scale is None else selection_scale.detach().clone()
        folded.groups = None if groups is None else groups.clone()
        return folded.eval()

    @torch.no_grad()
    def but(self, sources: Sources | None = None, activation: Activation | None = None) -> "Crosscoder":
        """A folded crosscoder's weights (shared, not copied) with other names for its sources, or another activation."""
        weights = self.W_enc, self.b_enc, self.W_dec, self.b_dec
        new = Crosscoder.of(
            sources or self.sources,
            weights,
            activation or self.activation,
            selection_scale=self.frozen_scale,
            groups=self.groups,
        )
        new.mean, new.scale, new.provenance = self.mean, self.scale, dict(self.provenance)
        return new

    # --- on disk ---

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `config.json`, whole or not at all; folds first."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        crosscoder = self.fold()
        with writing(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in crosscoder.state_dict().items()},
                Path(scratch) / "model.safetensors",
            )
            (Path(scratch) / "config.json").write_text(json.dumps(crosscoder.config(), indent=2) + "\n")
            folder.mkdir(exist_ok=True)
            for file in Path(scratch).iterdir():
                file.replace(folder / file.name)
        return folder

    def config(self) -> dict[str, Any]:
        """What `config.json` holds: plain JSON."""
        scales = {name: part.mean().item() for name, part in self.sources.split(self.scale).items()}
        return {
            "format": FORMAT,
            "sources": self.sources.spec(),
            "n_latents": self.n_latents,
            "activation": self.activation.spec(),
            "scale": scales,
            "provenance": self.provenance,
        }

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Crosscoder":
        """A saved crosscoder: its folder, a run folder that holds one, or a hub id. In eval mode."""
        folder = _locate(path)
        try:
            config = json.loads((folder / "config.json").read_text())
            if config.get("format") != FORMAT:
                raise UserError(f"{folder} has crosscoder format {config.get('format')!r}; this version reads {FORMAT}")
            sources, activation = Sources.from_spec(config["sources"]), activations.from_spec(config["activation"])
            weights = load_file(folder / "model.safetensors")
            empty = torch.zeros(config["n_latents"], sources.d_total)
            crosscoder = cls(sources, config["n_latents"], activation, init=lambda *_: (empty, empty.clone()))
            crosscoder.groups = weights.get("groups")
            crosscoder.load_state_dict(weights)
            crosscoder.provenance = dict(config["provenance"])
        except (AttributeError, KeyError, TypeError, ValueError, OSError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder} is not a saved crosscoder: {str(error).splitlines()[0]}") from error
        if bad := [name for name, tensor in crosscoder.state_dict().items() if tensor.isnan().any()]:
            raise UserError(f"{folder} is not a saved crosscoder of use: {', '.join(bad)} holds NaN")
        if (metrics := folder.parent / "metrics.json").exists():
            try:
                crosscoder.metrics = json.loads(metrics.read_text(encoding="utf-8"))
            except (ValueError, OSError, RecursionError) as error:
                raise UserError(f"{metrics} cannot be read: {first_line(error)}") from error
        return crosscoder.eval()

    def push_to_hub(self, repo: str, private: bool = True, metrics: Mapping[str, Any] | None = None) -> str:
        """Upload it with a model card (README.md) to the hub; returns the address. Needs a login (`hf auth login`).

        Args:
            repo: `owner/name`; made if it is not there.
            private: whether a new one is.
            metrics: figures for the card; None: `metrics.json` of the run folder it was loaded from, if it was.
        """
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(Path(scratch) / "crosscoder")
            config = json.loads((folder / "config.json").read_text())
            # they are of this machine, and nobody else's business
            config["provenance"] = _without_paths(config["provenance"])
            (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
            card = model_card(config, self.metrics if metrics is None else metrics, repo)
            (folder / "README.md").write_text(card, encoding="utf-8")
            HfApi().create_repo(repo, private=private, exist_ok=True)
            return str(HfApi().upload_folder(repo_id=repo, folder_path=folder))


def _without_paths(content: Any) -> Any:
    """The same without entries that are, or set, an absolute path."""
    if isinstance(content, dict):
        return {key: _without_paths(value) for key, value in content.items() if not _is_path(value)}
    if isinstance(content, list):
        return [_without_paths(value) for value in content if not _is_path(value)]
    return content


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value.partition("=")[2 if "=" in value else 0].startswith(("/", "~"))


def _locate(path: str | Path) -> Path:
    for folder in (Path(path), Path(path) / "crosscoder"):
        if (folder / "config.json").exists() and (folder / "model.safetensors").exists():
            return folder
    if Path(path).exists() or str(path).count("/") != 1:
        raise UserError(
            f"no crosscoder at {path}: expected config.json and model.safetensors there or in its crosscoder/"
        )
    return snapshot(str(path), ["model.safetensors", "config.json"])
