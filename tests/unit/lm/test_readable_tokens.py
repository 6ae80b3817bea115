import pytest

from crosscoder.lm.readable_tokens import make_readable


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            ["▁Hello", "lo", "▁▁", "\n", "\t", "<0x0A>", "<0xE2>", "<bos>"],
            [" Hello", "lo", "  ", "⏎", "⇥", "⏎", "<0xE2>", "<bos>"],
        ),
        (
            ["Ġhello", "Ċ", "ĠCafÃ©", "ĉ", "æĹ", "日本", "<|im_end|>"],
            [" hello", "⏎", " Café", "⇥", "�", "日本", "<|im_end|>"],
        ),
        (["hello", "Σ"], ["hello", "Σ"]),
        ([], []),
    ],
)
def test_tokens_are_made_readable(words, shown):
    assert make_readable(words) == shown
