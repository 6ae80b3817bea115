"""The mathematics loads no library of training, data sets or language models."""

import subprocess
import sys

import pytest

HEAVY = ("transformers", "lightning", "hydra", "pandas", "datasets")
PROGRAM = """
import sys
{statement}
print(*(name for name in {heavy} if name in sys.modules))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    "statement",
    [
        "from crosscoder import Crosscoder",
        "from crosscoder import SparseCode",
        "import crosscoder.core.checkpoint, crosscoder.core.card",
        "import crosscoder.losses.auxk, crosscoder.constraints.tied",
    ],
)
def test_the_mathematics_loads_no_heavy_library(statement):
    program = PROGRAM.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
