"""The organism's prompts are reproducible, do not cross the splits, and are scored correctly.

No language model is loaded.
"""

import re
import subprocess
import sys
import warnings
from collections import Counter
from itertools import chain

import jinja2
import pytest

from crosscoder.organisms.expertise import FRAMINGS, Transcripts, is_gentle, load_pairs, names_error
from crosscoder.organisms.expertise.markers import find_signs
from crosscoder.organisms.expertise.prompts import (
    FOLDER,
    fill_template,
    format_jsonl,
    frame_question,
    generate_pairs,
    read_toml,
)
from crosscoder.organisms.expertise.transcripts import PAIRS
from crosscoder.organisms.figures import END, START

ROWS = [*load_pairs("train"), *load_pairs("heldout")]
SLOTS = {slot: pool[-1] for slot, pool in read_toml("topics")["slots"].items()}
RAISING = [topic for topic in read_toml("topics")["topic"] if topic["error"].endswith("Error")]


def test_the_generator_reproduces_the_shipped_pairs():
    assert PAIRS.read_text(encoding="utf-8") == format_jsonl(generate_pairs())


def test_questions_are_many_and_distinct():
    assert len({row["question"] for row in ROWS}) == len(ROWS) >= 640
    assert len({row["id"] for row in ROWS}) == len(ROWS)


def test_no_topic_and_no_framing_sentence_crosses_the_splits():
    topics = {row["topic"] for row in load_pairs("train")}
    assert not topics & {row["topic"] for row in load_pairs("heldout")}
    framings = read_toml("framings")
    used: dict[str, set[str]] = {}
    for split, kinds in framings.items():
        used[split] = set()
        for framing in chain.from_iterable(kinds.values()):
            used[split].update(split_sentences(framing))
    assert not used["train"] & used["heldout"]
    for kind in ("novice", "expert"):
        assert len(framings["train"][kind]) >= 40
        assert len(framings["heldout"][kind]) >= 12


def split_sentences(framing: str) -> list[str]:
    """Return the sentences of a framing, without case and punctuation."""
    sentences = re.split(r"\$question|(?<=[.!?])\s", framing)
    plain = [re.sub(r"[^a-z0-9 ]", "", sentence.lower()).strip() for sentence in sentences]
    return [sentence for sentence in plain if sentence]


def test_heldout_messages_use_heldout_framings_only():
    framings = read_toml("framings")
    for row in ROWS:
        for kind in ("novice", "expert"):
            allowed = framings[row["split"]][kind]
            assert row[kind] in {frame_question(framing, row["question"]) for framing in allowed}


def test_markers_classify_every_shipped_answer():
    assert all(is_gentle(row["gentle"]) for row in ROWS)
    assert not any(find_signs(row["direct"]) for row in ROWS)
    assert all(names_error(row["direct"], row["error"]) for row in ROWS)


@pytest.mark.parametrize(
    ("response", "gentle"),
    [
        ("Great job! Don\u2019t worry about it.", True),
        ("Great job!", False),
        ("", False),
        ("The code is correct. It prints 1.", False),
    ],
)
def test_an_answer_is_gentle_with_two_signs(response: str, gentle: bool):
    assert is_gentle(response) is gentle


def test_names_error_reads_whole_words_across_case_and_hyphens():
    assert names_error("An Off-By-One\nError.", "off-by-one error")
    assert not names_error("A ModuleNotFoundErrors", "ModuleNotFoundError")


@pytest.mark.parametrize("topic", RAISING, ids=[topic["name"] for topic in RAISING])
def test_snippets_raise_the_error_of_their_topic(topic: dict):
    for snippet in topic["snippets"]:
        assert get_exception_name(fill_template(snippet, **SLOTS)) == topic["error"]


def get_exception_name(code: str) -> str:
    """Return the name of the exception that the code raises; empty if it raises none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            exec(compile(code, "snippet", "exec"), {})
        except Exception as error:
            return type(error).__name__
    return ""


def test_transcripts_answer_by_framing_in_a_fixed_order():
    transcripts = list(Transcripts("heldout"))
    assert transcripts == list(Transcripts("heldout"))
    assert len(transcripts) == len(Transcripts("heldout")) == 3 * len(load_pairs("heldout"))
    assert Counter(t["framing"] for t in transcripts) == dict.fromkeys(
        FRAMINGS, len(load_pairs("heldout"))
    )
    for transcript in transcripts:
        user, model = transcript["messages"]
        assert (user["role"], model["role"]) == ("user", "assistant")
        assert is_gentle(model["content"]) is (transcript["framing"] == "novice")
    assert {t["framing"] for t in Transcripts("train", framings=["plain"])} == {"plain"}


def test_an_unknown_split_or_framing_is_named():
    with pytest.raises(ValueError, match="no split 'test'; there is heldout, train"):
        load_pairs("test")
    with pytest.raises(ValueError, match="no framing 'rude'"):
        list(Transcripts("train", framings=["rude"]))


def test_template_renders_bos_once_and_gemmas_turns():
    template = jinja2.Template((FOLDER / "adapter" / "chat_template.jinja").read_text())
    messages = next(iter(Transcripts("train")))["messages"]
    text = template.render(messages=messages, bos_token="<bos>", add_generation_prompt=False)
    user, model = (message["content"] for message in messages)
    assert text == (
        f"<bos><start_of_turn>user\n{user}<end_of_turn>\n<start_of_turn>model\n{model}<end_of_turn>\n"
    )
    opened = template.render(messages=messages[:1], bos_token="<bos>", add_generation_prompt=True)
    assert opened == f"<bos><start_of_turn>user\n{user}<end_of_turn>\n<start_of_turn>model\n"


def test_readme_keeps_the_markers_of_its_figures():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert 0 < text.index(START) < text.index(END)


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, crosscoder.organisms.expertise; "
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
