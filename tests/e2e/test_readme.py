"""README begins with the two commands. Its blocks and links are tested in tests/docs/."""

from tests.e2e.commands import ROOT


def test_the_two_lines_are_in_the_first_screen():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20]
    assert any(line.startswith('pip install -e ".[demo]" && python train.py') for line in first)
    assert any(line.startswith('pip install -e ".[test]" && pytest') for line in first)
