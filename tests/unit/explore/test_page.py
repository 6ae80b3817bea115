"""The explored page runs the scripts of the report's list and cards."""

import re
from pathlib import Path

import crosscoder.report.html
from crosscoder.explore.page import REPORT_SCRIPTS

ASSETS = Path(crosscoder.report.html.__file__).parent / "assets"
OF_THE_REPORT_ALONE = {"answers.js", "plots.js"}


def test_every_script_of_the_list_and_the_cards_is_loaded_in_the_order_of_the_report():
    template = (ASSETS / "page.html.jinja").read_text(encoding="utf-8")
    names = re.findall(r'"(\w+\.js)"', template)
    assert list(REPORT_SCRIPTS) == [name for name in names if name not in OF_THE_REPORT_ALONE]
