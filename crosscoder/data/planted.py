"""A planted world: two synthetic streams whose features, and which of them each stream has, are known.

    x_s = Σ_i a_i · g_i^s · u_i + noise,   a_i ≠ 0 with probability p_i ∝ 1 / rank,   g_i^s ∈ {0, 1} by class

Features i are random unit directions u_i; *shared* ones are in both streams, *base-only* and *chat-only* ones in one.
Written as stores, so that everything downstream treats it like harvested activations. `truth.safetensors` beside the train
store holds directions [n, d] and classes [n] (0 shared, 1 base-only, 2 chat-only).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crosscoder.data.harvest import Harvest
from crosscoder.data.splits import Splits
from crosscoder.data.store import Store
from crosscoder.data.text import Part
from crosscoder.lm import Pair
from crosscoder.types import Kind

SHARED, BASE_ONLY, CHAT_ONLY = range(3)


@dataclass(frozen=True)
class Planted:
    """See the module's docstring.

    Args:
        width: of each stream.
        shared, base_only, chat_only: how many features of each class.
        active: features active on a token, on average.
        noise: standard deviation per dimension.
        seed: of directions and activations.
    """

    width: int = 64
    shared: int = 96
    base_only: int = 8
    chat_only: int = 16
    active: float = 6.0
    noise: float = 0.02
    seed: int = 0

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
        stores: dict[str, Store] = {part: self._store(root, part, n) for part, n in sizes.items()}
        return Splits(**stores, sources=stores["train"].sources.subset(names or stores["train"].sources.names))

    def truth(self) -> dict[str, Tensor]:
        """`directions` [n, width], `classes` [n], `rates` [n]."""
        generator = torch.Generator().manual_seed(self.seed)
        classes = torch.tensor([SHARED] * self.shared + [BASE_ONLY] * self.base_only + [CHAT_ONLY] * self.chat_only)
        n = len(classes)
        directions = torch.nn.functional.normalize(torch.randn(n, self.width, generator=generator), dim=-1)
        # power-law rates dealt at random, so that no class is the frequent one
        rates = (1.0 / (1 + torch.randperm(n, generator=generator)).float().sqrt()).clamp(max=1.0)
        rates = (rates * self.active / rates.sum()).clamp(max=0.5)
        return {"directions": directions, "classes": classes, "rates": rates}

    def sample(self, n: int, part: Part) -> tuple[Tensor, Tensor]:
        """(base, chat) activations, each [n, width]."""
        generator = torch.Generator().manual_seed(self.seed + 1 + get_args(Part).index(part))
        truth = self.truth()
        on = torch.rand(n, len(truth["rates"]), generator=generator) < truth["rates"]
        strength = on * (0.5 + torch.rand(n, len(truth["rates"]), generator=generator))
        streams = []
        for absent in (CHAT_ONLY, BASE_ONLY):
            present = (truth["classes"] != absent).float()
            streams.append((strength * present) @ truth["directions"])
        return tuple(x + self.noise * torch.randn(x.shape, generator=generator) for x in streams)  # type: ignore[return-value]

    def _store(self, root: Path, part: Part, n: int) -> Store:
        identity = json.dumps([asdict(self), part, n])
        folder = root / f"planted-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        source = {"width": self.width, "lm": "", "hookpoint": "planted"}
        store = Store.create(
            folder,
            {
                "sources": {"base": source, "chat": source},
                "contrast": ["chat", "base"],
                "dtype": "float32",
                "seq_len": 1,
                "counts": [n],
                "tokens_sha256": hashlib.sha256(identity.encode()).hexdigest(),
                "planted": asdict(self),
            },
        )
        if not store.complete("chat"):
            base, chat = self.sample(n, part)
            zeros = torch.zeros(n, dtype=torch.int64)
            tokens = {
                "ids": zeros,
                "position": zeros.clone(),
                "document": torch.arange(n),
                "kind": torch.full((n,), Kind.PLAIN),
            }
            store.write(0, "tokens", tokens)
            store.write(0, "base", {"acts": base})
            save_file(self.truth(), folder / "truth.safetensors")
            store.write(0, "chat", {"acts": chat})
        return store


def truth_of(store: Store) -> dict[str, Tensor]:
    """What a planted store was made from."""
    return load_file(store.folder / "truth.safetensors")
