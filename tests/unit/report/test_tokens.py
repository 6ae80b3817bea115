import pytest

from crosscoder.report.tokens import readable


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
def test_tokens_are_shown_as_one_reads_them(words, shown):
    assert readable(words) == shown
