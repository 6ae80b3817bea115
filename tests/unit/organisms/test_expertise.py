"""The organism's words: reproducible, split without leaks, scored without a mistake. No language model is loaded."""

import re
import subprocess
import sys
import warnings
from collections import Counter

import jinja2
import pytest

from crosscoder.organisms.expertise import FRAMINGS, Transcripts, is_gentle, names_error, pairs
from crosscoder.organisms.expertise.figures import END, START
from crosscoder.organisms.expertise.markers import signs
from crosscoder.organisms.expertise.prompts import FOLDER, fill, frame, generate, read_toml, to_jsonl
from crosscoder.organisms.expertise.transcripts import PAIRS

ROWS = [*pairs("train"), *pairs("heldout")]
SLOTS = {slot: pool[-1] for slot, pool in read_toml("topics")["slots"].items()}
RAISING = [topic for topic in read_toml("topics")["topic"] if topic["error"].endswith("Error")]


def test_shipped_pairs_are_what_the_generator_makes():
    assert PAIRS.read_text(encoding="utf-8") == to_jsonl(generate())


def test_questions_are_many_and_distinct():
    assert len({row["question"] for row in ROWS}) == len(ROWS) >= 640
    assert len({row["id"] for row in ROWS}) == len(ROWS)


def test_no_topic_and_no_framing_sentence_crosses_the_splits():
    assert not {row["topic"] for row in pairs("train")} & {row["topic"] for row in pairs("heldout")}
    framings = read_toml("framings")
    words = {
        split: {s for kind in kinds.values() for f in kind for s in sentences(f)} for split, kinds in framings.items()
    }
    assert not words["train"] & words["heldout"]
    for kind in ("novice", "expert"):
        assert len(framings["train"][kind]) >= 40
        assert len(framings["heldout"][kind]) >= 12


def sentences(framing: str) -> list[str]:
    """Sentences of a framing, compared without case and punctuation."""
    parts = re.split(r"\$question|(?<=[.!?])\s", framing)
    return [plain for part in parts if (plain := re.sub(r"[^a-z0-9 ]", "", part.lower()).strip())]


def test_heldout_messages_use_heldout_framings_only():
    framings = read_toml("framings")
    for row in ROWS:
        for kind in ("novice", "expert"):
            made = {frame(framing, row["question"]) for framing in framings[row["split"]][kind]}
            assert row[kind] in made


def test_markers_tell_every_shipped_answer():
    assert all(is_gentle(row["gentle"]) for row in ROWS)
    assert not any(signs(row["direct"]) for row in ROWS)
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
def test_one_sign_is_politeness_two_are_gentleness(response: str, gentle: bool):
    assert is_gentle(response) is gentle


def test_names_error_reads_whole_words_across_case_and_hyphens():
    assert names_error("An Off-By-One\nError.", "off-by-one error")
    assert not names_error("A ModuleNotFoundErrors", "ModuleNotFoundError")


@pytest.mark.parametrize("topic", RAISING, ids=[topic["name"] for topic in RAISING])
def test_snippets_raise_what_the_direct_answer_says(topic: dict):
    assert {raised(fill(snippet, **SLOTS)) for snippet in topic["snippets"]} == {topic["error"]}


def raised(code: str) -> str:
    """Name of the exception that ends the code; empty if it runs through."""
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
    assert len(transcripts) == len(Transcripts("heldout")) == 3 * len(pairs("heldout"))
    assert Counter(t["framing"] for t in transcripts) == dict.fromkeys(FRAMINGS, len(pairs("heldout")))
    for transcript in transcripts:
        user, model = transcript["messages"]
        assert (user["role"], model["role"]) == ("user", "assistant")
        assert is_gentle(model["content"]) is (transcript["framing"] == "novice")
    assert {t["framing"] for t in Transcripts("train", framings=["plain"])} == {"plain"}


def test_an_unknown_split_or_framing_is_named():
    with pytest.raises(ValueError, match="no split 'test'; there is heldout, train"):
        pairs("test")
    with pytest.raises(ValueError, match="no framing 'rude'"):
        list(Transcripts("train", framings=["rude"]))


def test_template_renders_bos_once_and_gemmas_turns():
    template = jinja2.Template((FOLDER / "adapter" / "chat_template.jinja").read_text())
    messages = next(iter(Transcripts("train")))["messages"]
    text = template.render(messages=messages, bos_token="<bos>", add_generation_prompt=False)
    user, model = (message["content"] for message in messages)
    assert text == (f"<bos><start_of_turn>user\n{user}<end_of_turn>\n<start_of_turn>model\n{model}<end_of_turn>\n")
    opened = template.render(messages=messages[:1], bos_token="<bos>", add_generation_prompt=True)
    assert opened == f"<bos><start_of_turn>user\n{user}<end_of_turn>\n<start_of_turn>model\n"


def test_readme_keeps_the_markers_of_its_figures():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert 0 < text.index(START) < text.index(END)


def test_importing_the_package_is_light():
    code = (
        "import sys, crosscoder.organisms.expertise as e; print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
