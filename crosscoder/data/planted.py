"""A planted world: synthetic streams whose features, and which of them each stream has, are known.

    x_s = Σ_i a_i^s · g_i^s · u_i^s + noise,   a_i ≠ 0 with probability p_i ∝ rank^−exponent

Features i are random unit directions u_i, in classes:

    shared       the same in both streams
    base-only, chat-only   in one of them
    rotated      active together, in unrelated directions: u^base ⊥ u^chat, roughly
    rescaled     the same, but weaker in one stream by a gain between 0.05 and 1 (in base and in chat by turns)
    shifted      the same direction, active in different contexts: of the tokens where it is on in either, it is on in
                 both in a share `overlap`, else in one of them

Between base and chat there may be further streams, as of checkpoints: each has a share of what finetuning changed as chat has it,
and the rest as base has it.

Features may fire together, and some only where another does (firing.py), and be of very different sizes. A dictionary with fewer
latents than features makes a world under-complete.

Written as stores, so that everything downstream treats it like harvested activations. `truth.safetensors` beside the train
store holds directions and chat_directions [n, d], gains [2, n] (base, chat), rates and classes [n], and `tuned/<stream>` [n] for
those between: which features it has as chat has them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crosscoder.data.firing import fires
from crosscoder.data.harvest import Harvest
from crosscoder.data.splits import Splits
from crosscoder.data.store import Store
from crosscoder.data.text import Part
from crosscoder.errors import UserError, writing
from crosscoder.lm import Pair
from crosscoder.types import Kind, Tokens

CLASSES = ("shared", "base_only", "chat_only", "rotated", "rescaled", "shifted")
SHARED, BASE_ONLY, CHAT_ONLY, ROTATED, RESCALED, SHIFTED = range(6)
WEAKEST = 0.05  # gain


@dataclass(frozen=True)
class Planted:
    """See the module's docstring.

    Args:
        width: of each stream.
        shared, base_only, chat_only, rotated, rescaled, shifted: how many features of each class.
        overlap: of shifted features.
        active: features active on a token, on average.
        exponent: of the power law of their rates.
        spread: of their sizes, σ of a log-normal with mean 1; 0: uniform from ½ to 1½.
        correlation: share of a Gaussian factor model in what decides whether a feature fires; its factors are `factors`.
        children: share of the features that fire only where a more frequent one does.
        noise: standard deviation per dimension.
        between: further streams, and the share of features that each has as chat has them, rising from one to the next.
        seed: of directions and activations.
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
        if bad := [name for name, share in self.between.items() if name in ("base", "chat") or not 0 <= share <= 1]:
            raise UserError(
                f"data.between names streams other than base and chat with a share from 0 to 1, not {bad[0]}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the streams, from base to chat."""
        return ("base", *self.between, "chat")

    def stores(
        self,
        pair: Pair,
        hookpoints: Sequence[str],
        names: Sequence[str] | None,
        harvest: Harvest,
        sizes: Mapping[Part, int],
    ) -> Splits:
        """Three stores under the harvest's root, drawn once and then reused; pair and hookpoints play no part."""
        root = Path(harvest.root).expanduser()
        train, validation, heldout = (self._store(root, part, sizes[part]) for part in get_args(Part))
        return Splits(train, validation, heldout, train.sources.subset(names or train.sources.names))

    def truth(self) -> dict[str, Tensor]:
        """`directions` and `chat_directions` [n, width], `classes` [n], `rates` [n], `gains` [2, n] in base and chat."""
        # a stream of its own: a crosscoder of the same seed would begin with the very directions it is to find
        generator = torch.Generator().manual_seed(self.seed + 4000)
        counts = (self.shared, self.base_only, self.chat_only, self.rotated, self.rescaled, self.shifted)
        classes = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        n = len(classes)
        directions = torch.nn.functional.normalize(torch.randn(n, self.width, generator=generator), dim=-1)
        # power-law rates dealt at random, so that no class is the frequent one
        ranks = (1 + torch.randperm(n, generator=generator)).float()
        rates = 1.0 / (ranks.sqrt() if self.exponent == 0.5 else ranks**self.exponent)
        rates = (rates * self.active / rates.sum()).clamp(max=0.5)
        turned = torch.nn.functional.normalize(torch.randn(n, self.width, generator=generator), dim=-1)
        chat_directions = torch.where((classes == ROTATED)[:, None], turned, directions)
        gains = torch.stack([classes != CHAT_ONLY, classes != BASE_ONLY]).float()
        weak = WEAKEST ** torch.rand(self.rescaled, generator=generator)  # log-uniform
        at = (classes == RESCALED).nonzero()[:, 0]
        gains[torch.arange(len(at)) % 2, at] = weak
        order = torch.rand(n, generator=torch.Generator().manual_seed(self.seed + 3000))
        return {f"tuned/{name}": order < share for name, share in self.between.items()} | {
            "directions": directions,
            "chat_directions": chat_directions,
            "classes": classes,
            "rates": rates,
            "gains": gains,
        }

    def strengths(self, n: int, part: Part) -> tuple[Tensor, Tensor]:
        """How strongly each feature is there in (base, chat), each [n, features]."""
        return self._strengths(n, part, self._generator(part))

    def _strengths(self, n: int, part: Part, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        truth = self.truth()
        on = fires(n, truth["rates"], self.correlation, self.factors, self.children, generator, self.seed)
        size = torch.rand(n, len(truth["rates"]), generator=generator)
        if self.spread:  # the same draws, made log-normal
            size = (self.spread * torch.special.ndtri(size.clamp(1e-6, 1 - 1e-6)) - self.spread**2 / 2).exp()
        else:
            size = 0.5 + size
        strength = on * size
        where = torch.rand(strength.shape, generator=self._generator(part, 1000))
        base_too, chat_too = where < (1 + self.overlap) / 2, where > (1 - self.overlap) / 2
        shifted = truth["classes"] == SHIFTED
        base, chat = (
            gain * strength * (too | ~shifted) for gain, too in zip(truth["gains"], (base_too, chat_too), strict=True)
        )
        return base, chat

    def sample(self, n: int, part: Part) -> dict[str, Tensor]:
        """Activations of every stream, each [n, width]."""
        truth, generator = self.truth(), self._generator(part)
        base, chat = self._strengths(n, part, generator)
        streams = {"base": base @ truth["directions"], "chat": chat @ truth["chat_directions"]}
        for name in self.between:
            tuned = truth[f"tuned/{name}"]
            streams[name] = (base * ~tuned) @ truth["directions"] + (chat * tuned) @ truth["chat_directions"]
        return {name: x + self.noise * torch.randn(x.shape, generator=generator) for name, x in streams.items()}

    def _generator(self, part: Part, of: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + of + 1 + get_args(Part).index(part))

    def _store(self, root: Path, part: Part, n: int) -> Store:
        settings = asdict(self) if self.between else {k: v for k, v in asdict(self).items() if k != "between"}
        identity = json.dumps([settings, part, n])
        folder = root / f"planted-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        source = {"width": self.width, "lm": "", "hookpoint": "planted"}
        store = Store.create(
            folder,
            {
                "sources": dict.fromkeys(self.names, source),
                "contrast": ["chat", "base"],
                "dtype": "float32",
                "seq_len": 1,
                "counts": [n],
                "tokens_sha256": hashlib.sha256(identity.encode()).hexdigest(),
                "planted": settings,
            },
        )
        if not store.complete("chat"):
            with store.lock:  # one process draws, others wait for it
                store.refresh()
                if not store.complete("chat"):
                    self._fill(store, part)
        return store

    def _fill(self, store: Store, part: Part) -> None:
        n = len(store)
        streams, zeros = self.sample(n, part), torch.zeros(n, dtype=torch.int64)
        tokens = Tokens(zeros, zeros.clone(), torch.arange(n), torch.full((n,), Kind.PLAIN))
        store.write(0, "tokens", tokens.tensors())
        with writing(store.folder):
            save_file(self.truth(), store.folder / "truth.safetensors")
        for name in self.names:  # chat is the last: with it the store is complete
            store.write(0, name, {"acts": streams[name]})


def truth_of(store: Store) -> dict[str, Tensor]:
    """What a planted store was made from."""
    return load_file(store.folder / "truth.safetensors")
