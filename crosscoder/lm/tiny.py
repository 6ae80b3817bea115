"""A random two-layer Gemma 3 with a byte tokenizer, built from a config object: for tests and offline smoke runs."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
TURNS = ["<start_of_turn>", "<end_of_turn>"]
WORDS = "a and are as at be by every for from has in is it line not of on one or says some text that the this times to was with"
CHAT_TEMPLATE = (Path(__file__).parent / "gemma.jinja").read_text()


@dataclass(frozen=True)
class TinyLM:
    """Random weights from `seed`, each then moved by a random `drift` relative to its size: a finetuned sibling.

    With `words` it has another tokenizer: common words are one token each, and no text begins with BOS. Stands in for `LM`
    wherever one is asked for.
    """

    seed: int
    drift: float = 0.0
    d_model: int = 32
    n_layers: int = 2
    words: bool = False

    def load(self, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu") -> PreTrainedModel:
        """The model in eval mode without gradients."""
        config = Gemma3TextConfig(
            vocab_size=len(self.tokenizer()),
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
        return model.to(device=device, dtype=dtype).eval().requires_grad_(False)  # pyright: ignore

    def skeleton(self) -> PreTrainedModel:
        """As `LM.skeleton`; with weights, since they are few."""
        return self.load()

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token per byte, Gemma's special tokens and turn markers, Gemma's chat template."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = _merges() if self.words else []
        vocab = {token: i for i, token in enumerate([*SPECIAL, *TURNS, *alphabet, *map("".join, merges)])}
        tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        if not self.words:
            tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in [*SPECIAL, *TURNS]])
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            eos_token="<eos>",
            bos_token=None if self.words else "<bos>",
            unk_token="<unk>",
            padding_side="left",
            chat_template=CHAT_TEMPLATE,
        )

    def fingerprint(self) -> str:
        """Identity of the weights."""
        return "tiny-" + "-".join(str(value) for value in self.spec().values())

    def spec(self) -> dict:
        """What rebuilds this model from a saved crosscoder: plain JSON."""
        return {name: value for name, value in asdict(self).items() if name != "words" or self.words}


def _merges() -> list[tuple[str, str]]:
    """What makes a token of every word, with the space before it, letter by letter."""
    words = [f"Ġ{word}" for word in WORDS.split()]
    return list(dict.fromkeys((word[:n], word[n]) for word in words for n in range(1, len(word))))
