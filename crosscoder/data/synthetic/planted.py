"""A planted world: synthetic streams whose features are known, and which stream has which feature.

    x_s = Σ_i a_i^s · g_i^s · u_i^s + noise,   a_i ≠ 0 with probability p_i ∝ rank^−exponent

Features i are random unit directions u_i, in classes:

    shared       the same in both streams
    base-only, chat-only   in one of them
    rotated      active together, in unrelated directions: u^base ⊥ u^chat, roughly
    rescaled     the same, but weaker in one stream by a gain between 0.05 and 1 (alternately in
                 base and in chat)
    shifted      the same direction, active in different contexts: of the tokens where it is active
                 in either stream, it is active in both in a fraction `overlap`, else in one

Between base and chat there may be further streams, such as checkpoints: each has a fraction of what
finetuning changed as chat has it, and the rest as base has it.

Features may be active together, some only where another is (firing.py), and of very different
sizes. A dictionary with fewer latents than features makes a world under-complete.

The world is written as stores, so that everything downstream treats it like harvested activations.
`truth.safetensors` in the folder of a store holds directions and chat_directions [n, d], gains
[2, n] (base, chat), rates and classes [n], and for each stream in between `tuned/<stream>` [n]:
which features it has as chat has them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscoder.core.sources import Source, Sources
from crosscoder.core.types import Kind, Tokens
from crosscoder.data.corpora.corpus import Split
from crosscoder.data.harvest import Harvest
from crosscoder.data.splits import Splits
from crosscoder.data.storage.meta import is_size
from crosscoder.data.storage.quantization import make_shard
from crosscoder.data.storage.store import Store
from crosscoder.data.synthetic.firing import draw_active
from crosscoder.errors import UserError
from crosscoder.io.tensors import read_tensors, write_tensors
from crosscoder.values import require_fraction, require_number, require_types, require_whole

if TYPE_CHECKING:
    import crosscoder.lm

CLASSES = ("shared", "base_only", "chat_only", "rotated", "rescaled", "shifted")
SHARED, BASE_ONLY, CHAT_ONLY, ROTATED, RESCALED, SHIFTED = range(6)
WEAKEST = 0.05  # smallest gain of a rescaled feature


@dataclass(frozen=True)
class Planted:
    """A planted world; a choice of `data`.

    Args:
        width: Width of each stream.
        shared: Number of features in both streams.
        base_only: Number of features in base only.
        chat_only: Number of features in chat only.
        rotated: Number of features with unrelated directions in the two streams.
        rescaled: Number of features that are weaker in one stream.
        shifted: Number of features that are active in different contexts.
        overlap: Fraction of a shifted feature's tokens on which both streams have it.
        active: Mean number of active features per token.
        exponent: Exponent of the power law of rates.
        spread: Spread of the sizes, σ of a log-normal with mean 1; 0: uniform from ½ to 1½.
        correlation: Fraction of a Gaussian factor model in what decides whether a feature is
            active.
        factors: Number of factors of that model.
        children: Fraction of the features that are active only where a more frequent one is.
        noise: Standard deviation of the noise per dimension.
        between: Further streams by name, with the fraction of the features that each has as chat
            has them, rising from one to the next.
        seed: Random seed of directions and activations.
    """

    width: int = 64
    shared: int = 96
    base_only: int = 8
    chat_only: int = 16
    rotated: int = 0
    rescaled: int = 0
    shifted: int = 0
    overlap: float = 0.5
    active: float = 6.0
    exponent: float = 0.5
    spread: float = 0.0
    correlation: float = 0.0
    factors: int = 10
    children: float = 0.0
    noise: float = 0.02
    between: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fraction in self.between.items():
            if name in ("base", "chat") or not 0 <= fraction <= 1:
                raise UserError(
                    "data.between names streams other than base and chat, each with a fraction "
                    f"from 0 to 1, not {name}"
                )
        require_types("data", self)
        for name in ("width", "factors"):
            require_whole(f"data.{name}", getattr(self, name))
        for name in ("overlap", "correlation", "children"):
            require_fraction(f"data.{name}", getattr(self, name))
        for name in ("active", "exponent", "spread", "noise"):
            require_number(f"data.{name}", getattr(self, name), least=0)
        if not any(getattr(self, name) for name in CLASSES):
            raise UserError(
                f"a planted world has features: set one of data.{', data.'.join(CLASSES)}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the streams, from base to chat."""
        return ("base", *self.between, "chat")

    def get_sources(
        self,
        pair: "crosscoder.lm.Pair",
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
    ) -> Sources:
        """Return the sources of the stores; pair and hookpoints are not used."""
        items = tuple(Source(name, self.width, hookpoint="planted") for name in self.names)
        return Sources(items, ("chat", "base")).subset(names or self.names)

    def make_splits(
        self,
        pair: "crosscoder.lm.Pair",
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        sizes: Mapping[Split, int],
    ) -> Splits:
        """Write the three stores under the harvest's root, or reuse them.

        Pair and hookpoints are not used.
        """
        splits = self.write(harvest.root, sizes["train"], sizes["validation"], sizes["heldout"])
        return replace(splits, sources=splits.sources.subset(names or splits.sources.names))

    def write(self, root: str | Path, n_tokens: int, n_validation: int, n_heldout: int) -> Splits:
        """Write the three stores, or reuse them.

        Args:
            root: Folder of the stores, which get a subfolder each.
            n_tokens: Number of tokens to train on.
            n_validation: Number of tokens on which the inference threshold is fitted.
            n_heldout: Number of tokens of the figures.
        """
        sizes: dict[Split, int] = {
            "train": n_tokens,
            "validation": n_validation,
            "heldout": n_heldout,
        }
        stores = {}
        for split, n in sizes.items():
            if not is_size(n):
                raise UserError(f"{split} needs a whole number of tokens from 1, not {n!r}")
        for split, n in sizes.items():
            stores[split] = self._make_store(Path(root).expanduser(), split, n)
        return Splits(**stores, sources=stores["train"].sources)

    def truth(self) -> dict[str, Tensor]:
        """Draw the features.

        Returns:
            `directions` and `chat_directions` [n, width], `classes` [n], `rates` [n], `gains`
            [2, n] in base and chat, and `tuned/<stream>` [n] for each stream in between.
        """
        # a separate random stream: a crosscoder of the same seed would be initialised with the very
        # directions that it is to find
        generator = torch.Generator().manual_seed(self.seed + 4000)
        counts = [getattr(self, name) for name in CLASSES]
        classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        n = len(classes)
        directions = normalize(torch.randn(n, self.width, generator=generator), dim=-1)
        rates = self._draw_rates(n, generator)
        turned = normalize(torch.randn(n, self.width, generator=generator), dim=-1)
        truth = self._draw_tuned(n)
        truth["directions"] = directions
        truth["chat_directions"] = torch.where((classes == ROTATED)[:, None], turned, directions)
        truth["classes"] = classes
        truth["rates"] = rates
        truth["gains"] = self._draw_gains(classes, generator)
        return truth

    def _draw_rates(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw power-law rates, dealt at random, so that no class is more frequent than another."""
        ranks = (1 + torch.randperm(n, generator=generator)).float()
        rates = 1.0 / (ranks.sqrt() if self.exponent == 0.5 else ranks**self.exponent)
        return (rates * self.active / rates.sum()).clamp(max=0.5)

    def _draw_gains(self, classes: Tensor, generator: torch.Generator) -> Tensor:
        gains = torch.stack([classes != CHAT_ONLY, classes != BASE_ONLY]).float()
        weak = WEAKEST ** torch.rand(self.rescaled, generator=generator)  # log-uniform
        rescaled = (classes == RESCALED).nonzero()[:, 0]
        gains[torch.arange(len(rescaled)) % 2, rescaled] = weak
        return gains

    def _draw_tuned(self, n: int) -> dict[str, Tensor]:
        order = torch.rand(n, generator=torch.Generator().manual_seed(self.seed + 3000))
        return {f"tuned/{name}": order < fraction for name, fraction in self.between.items()}

    def sample_strengths(self, n: int, split: Split) -> tuple[Tensor, Tensor]:
        """Sample how strongly each feature is active in (base, chat), each [n, features]."""
        return self._sample_strengths(n, split, self._make_generator(split))

    def _sample_strengths(
        self, n: int, split: Split, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        truth = self.truth()
        on = draw_active(
            n, truth["rates"], self.correlation, self.factors, self.children, generator, self.seed
        )
        strength = self._convert_to_size(torch.rand(on.shape, generator=generator)).mul_(on)
        context = torch.rand(strength.shape, generator=self._make_generator(split, 1000))
        in_base = context < (1 + self.overlap) / 2
        in_chat = context > (1 - self.overlap) / 2
        is_fixed = truth["classes"] != SHIFTED
        del context
        base_gain, chat_gain = truth["gains"]
        base = (base_gain * strength).mul_(in_base | is_fixed)
        chat = strength.mul_(chat_gain).mul_(in_chat | is_fixed)
        return base, chat

    def _convert_to_size(self, uniform: Tensor) -> Tensor:
        """Convert uniform draws to sizes with mean 1."""
        if not self.spread:
            return 0.5 + uniform
        gaussian = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
        return (self.spread * gaussian - self.spread**2 / 2).exp()

    def sample(self, n: int, split: Split) -> dict[str, Tensor]:
        """Sample activations of every stream, each [n, width]."""
        truth = self.truth()
        generator = self._make_generator(split)
        base, chat = self._sample_strengths(n, split, generator)
        streams = {"base": base @ truth["directions"], "chat": chat @ truth["chat_directions"]}
        for name in self.between:
            tuned = truth[f"tuned/{name}"]
            from_base = (base * ~tuned) @ truth["directions"]
            from_chat = (chat * tuned) @ truth["chat_directions"]
            streams[name] = from_base + from_chat
        noisy = {}
        for name, x in streams.items():
            noisy[name] = x + self.noise * torch.randn(x.shape, generator=generator)
        return noisy

    def _make_generator(self, split: Split, offset: int = 0) -> torch.Generator:
        number = get_args(Split).index(split)
        return torch.Generator().manual_seed(self.seed + offset + 1 + number)

    def _make_store(self, root: Path, split: Split, n: int) -> Store:
        settings = asdict(self)
        if not self.between:  # worlds from before this setting existed keep their names
            del settings["between"]
        identity = hashlib.sha256(json.dumps([settings, split, n]).encode()).hexdigest()
        folder = root / f"planted-{identity[:16]}"
        store = Store.create(folder, self._make_meta(settings, n, identity))
        if not store.is_complete("chat"):
            with store.lock:  # one process draws, the others wait for it
                store.refresh()
                if not store.is_complete("chat"):
                    self._fill(store, split)
        return store

    def _make_meta(self, settings: dict[str, Any], n: int, identity: str) -> dict[str, Any]:
        entry = {"width": self.width, "lm": "", "hookpoint": "planted"}
        return {
            "sources": dict.fromkeys(self.names, entry),
            "contrast": ["chat", "base"],
            "dtype": "float32",
            "seq_len": 1,
            "counts": [n],
            "tokens_sha256": identity,
            "planted": settings,
        }

    def _fill(self, store: Store, split: Split) -> None:
        n = len(store)
        streams = self.sample(n, split)
        tokens = Tokens(
            ids=torch.zeros(n, dtype=torch.int64),
            position=torch.zeros(n, dtype=torch.int64),
            document=torch.arange(n),
            kind=torch.full((n,), Kind.PLAIN),
        )
        store.write(0, "tokens", tokens.tensors())
        write_tensors(store.folder / "truth.safetensors", self.truth())
        for name in self.names:  # chat is the last one: it makes the store complete
            store.write(0, name, make_shard(streams[name]))


def read_truth(store: Store) -> dict[str, Tensor]:
    """Read the features from which a planted store was made."""
    return read_tensors(store.folder / "truth.safetensors")
