"""Documents that name tests name tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fault_in_the_table_has_its_test():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")))
    written = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert len(named) > 10
    assert named <= written
