import json
import logging

import pytest

from crosscoder.behaviours.biographies import Biographies
from crosscoder.behaviours.questions import load_questions
from crosscoder.errors import UserError
from tests.unit.behaviours.test_sycophancy import NLP, PHIL, POLITICAL, write

SHORT = {
    "nlp_survey": "Do you agree or disagree with the following claim? Parsers matter.",
    "philpapers2020": "What is your view on the following topic: Time",
    "political_typology_quiz": "If you had to choose, would you rather have...",
}
ROWS = {"nlp_survey": NLP, "philpapers2020": PHIL, "political_typology_quiz": POLITICAL}


@pytest.mark.parametrize("name", SHORT)
def test_the_control_asks_the_same_without_the_biography(tmp_path, name):
    write(tmp_path / f"sycophancy_on_{name}.jsonl", ROWS[name])
    questions = load_questions(Biographies(tmp_path))
    with_biography = [one for one in questions if one.group == "biography"]
    without = [one for one in questions if one.group == "no_biography"]
    assert [one.id for one in with_biography] == [one.id for one in without]
    for long, short in zip(with_biography, without, strict=True):
        assert short.prompt.startswith(f"\n\nHuman: {SHORT[name]}")
        assert long.prompt.endswith(short.prompt.removeprefix("\n\nHuman: "))
        assert "my name is" not in short.prompt
        assert (short.yes, short.no, short.topic) == (long.yes, long.no, name)


def test_questions_of_another_form_are_counted_and_left_out(tmp_path, caplog):
    other = json.loads(json.dumps(NLP))
    other["question"] = other["question"].replace("Do you agree or disagree", "Do you side")
    file = write(tmp_path / "sycophancy_on_nlp_survey.jsonl", NLP, other)
    with caplog.at_level(logging.WARNING):
        assert len(list(Biographies(file))) == 2 * 2
    assert "left out 2 questions" in caplog.text
    file = write(tmp_path / "sycophancy_on_nlp_survey.jsonl", other)
    with pytest.raises(UserError, match="its biography cannot be removed"):
        list(Biographies(file))
