"""A small random Gemma 3 with a byte tokenizer, for tests and smoke runs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from crosscoder.lm.loading.cast import cast_weights
from crosscoder.lm.loading.quiet import silence_transformers
from crosscoder.lm.types import PreTrainedModel, Tokenizer

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]
WORDS = (
    "a and are as at be by every for from has in is it line not of on one or says some text "
    "that the this times to was with"
)
TEMPLATE_FILE = Path(__file__).parent / "gemma.jinja"


@dataclass(frozen=True)
class TinyLM:
    """A small random model, usable wherever an `LM` is expected.

    Args:
        seed: Random seed of the weights.
        drift: Size of a random change of each weight, relative to the weights' standard deviation.
            Models of one seed and different drifts resemble a base model and its finetunes.
        d_model: Width of the residual stream.
        n_layers: Number of decoder layers, even.
        words: Use another tokenizer, which has one token for each common word and adds no BOS.
    """

    seed: int
    drift: float = 0.0
    d_model: int = 32
    n_layers: int = 2
    words: bool = False

    def describe(self) -> str:
        """Return the numbers that determine the model."""
        return f"random (seed {self.seed}, drift {self.drift:g})"

    def load(
        self, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> PreTrainedModel:
        """Build the model, in eval mode and without gradients."""
        from transformers import Gemma3ForCausalLM, Gemma3TextConfig

        silence_transformers()
        config = Gemma3TextConfig(
            vocab_size=len(self.load_tokenizer()),
            hidden_size=self.d_model,
            intermediate_size=2 * self.d_model,
            num_hidden_layers=self.n_layers,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            layer_types=["sliding_attention", "full_attention"] * (self.n_layers // 2),
            sliding_window=64,
            bos_token_id=2,
            eos_token_id=1,
            pad_token_id=0,
            initializer_range=0.2,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = Gemma3ForCausalLM(config)
            if self.drift:
                torch.manual_seed(self.seed + 1)
                for weight in model.parameters():
                    weight.data += self.drift * weight.data.std() * torch.randn_like(weight)
        cast_weights(model, dtype)
        return model.to(device).eval().requires_grad_(False)  # pyright: ignore

    def build_skeleton(self) -> PreTrainedModel:
        """Build the model as `LM.build_skeleton` does; with weights, which are few."""
        return self.load()

    def load_tokenizer(self) -> Tokenizer:
        """Build a byte tokenizer with Gemma's special tokens, turn markers and chat template."""
        from transformers import PreTrainedTokenizerFast

        silence_transformers()
        return PreTrainedTokenizerFast(
            tokenizer_object=_build_backend(self.words),
            pad_token="<pad>",
            eos_token="<eos>",
            bos_token=None if self.words else "<bos>",
            unk_token="<unk>",
            padding_side="left",
            chat_template=TEMPLATE_FILE.read_text(),
        )

    def fingerprint(self) -> str:
        """Return the identity of the weights."""
        return "tiny-" + "-".join(str(value) for value in self.spec().values())

    def stamp(self) -> tuple:
        """Return nothing, because this model has no files that could change."""
        return ()

    def spec(self) -> dict[str, Any]:
        """Return plain JSON that rebuilds this model from a saved crosscoder."""
        found = asdict(self)
        if not self.words:
            del found["words"]
        return found


def _build_backend(has_words: bool) -> "tokenizers.Tokenizer":
    """Build a byte-level BPE; its merges make one token of each common word."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _list_merges() if has_words else []
    merged = ["".join(merge) for merge in merges]
    vocab = {token: i for i, token in enumerate([*SPECIAL, *TURNS, *alphabet, *merged])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if not has_words:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 2)]
        )
    added = [AddedToken(token, special=True) for token in [*SPECIAL, *TURNS]]
    tokenizer.add_special_tokens(added)
    return tokenizer


def _list_merges() -> list[tuple[str, str]]:
    """List the merges that build every word, with the space before it, letter by letter."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS.split():
        spaced = f"Ġ{word}"
        for n in range(1, len(spaced)):
            merges[spaced[:n], spaced[n]] = None
    return list(merges)
