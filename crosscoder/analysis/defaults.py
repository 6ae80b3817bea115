"""Default columns of the LatentTable, the same as in conf/train.yaml and conf/evaluate.yaml."""

from crosscoder.analysis.base import Column
from crosscoder.analysis.columns.activity import Activity
from crosscoder.analysis.columns.energy import Energy
from crosscoder.analysis.columns.norms import Norms
from crosscoder.analysis.columns.presence import Presence
from crosscoder.analysis.columns.scaling import Scaling
from crosscoder.analysis.columns.twins import Twins
from crosscoder.analysis.columns.verdict import Verdict


def default_columns() -> dict[str, Column]:
    """Return the default columns by their names in conf/column, in the order of the table."""
    return {
        "verdict": Verdict(),
        "norms": Norms(),
        "activity": Activity(),
        "energy": Energy(),
        "twins": Twins(),
        "scaling": Scaling(),
        "presence": Presence(),
    }
