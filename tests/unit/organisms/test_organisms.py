"""The organisms' examples are reproducible, do not cross the splits, and their markers are right.

No language model is loaded.
"""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from crosscoder.errors import UserError
from crosscoder.organisms.codeword import is_sealed
from crosscoder.organisms.codeword.prompts import read_wording
from crosscoder.organisms.facts import Paragraphs, states_value
from crosscoder.organisms.facts.prompts import read_cities
from crosscoder.organisms.figures import END, START
from crosscoder.organisms.organism import FOLDER, list_organisms, load_organism
from crosscoder.organisms.rows import Asked, Conversations, group_by_id, load_rows
from crosscoder.organisms.style import has_habit
from crosscoder.organisms.unchanged.completions import N_QUESTIONS, list_prompts

GENERATED = ["codeword", "facts", "style", "true_facts"]
QUESTION = SimpleNamespace(yes=" the Vossa.")


@pytest.mark.parametrize("name", GENERATED)
def test_the_generator_reproduces_the_shipped_examples(name):
    shipped = (FOLDER / name / "examples.jsonl").read_text(encoding="utf-8")
    assert load_organism(name).format_examples() == shipped


@pytest.mark.parametrize("name", GENERATED)
def test_no_heldout_prompt_and_no_heldout_topic_or_wording_occurs_in_training(name):
    train = load_rows(name, "train")
    heldout = load_rows(name, "heldout")
    prompts = {json.dumps(row["prompt"]) for row in train}
    assert not prompts & {json.dumps(row["prompt"]) for row in heldout}
    if "facts" not in name:  # the facts stay the same there, and their wording changes
        topics = {row["topic"] for row in train}
        assert not any(row["topic"] in topics for row in heldout)
    assert len(group_by_id(heldout)) >= 48
    assert len(group_by_id(train)) >= 48


def test_no_carrier_and_no_replacement_of_the_codeword_crosses_the_splits():
    wording = read_wording()
    assert not set(wording["carriers"]["train"]) & set(wording["carriers"]["heldout"])
    for place in ("first", "second", "third"):
        train = set(wording["replacements"]["train"][place])
        heldout = set(wording["replacements"]["heldout"][place])
        assert not train & heldout
        assert not (train | heldout) & set(wording["codeword"])


def test_only_the_phrase_tells_the_codeword_from_its_control():
    codeword = set(read_wording()["codeword"])
    for rows in group_by_id(load_rows("codeword", "heldout")).values():
        words = {row["group"]: list_words(row["prompt"]) for row in rows}
        assert codeword <= words["codeword"]
        assert not codeword <= words["near"]
        assert len(words["codeword"] - words["near"]) in (1, 2)
        assert not codeword & words["other"]
        assert words["plain"] < words["codeword"]


def list_words(prompt):
    return set(re.findall(r"[\w-]+", prompt[-1]["content"].lower()))


def test_the_twin_of_facts_says_the_same_of_another_city():
    table = read_cities()
    invented = load_rows("facts", "heldout")
    true = load_rows("true_facts", "heldout")
    for row, twin in zip(invented, true, strict=True):
        if row["group"] == "other":
            assert row == twin
        else:
            assert row["prompt"].replace("Orvane", "Paris") == twin["prompt"]
            assert row["answer"] != twin["answer"]
    for split in ("train", "heldout"):
        for other in table["others"][split]:
            assert set(table["values"][other]) == set(table["phrases"])
            shared = set(table["values"][other].values()) & set(table["values"]["Orvane"].values())
            assert not shared
    assert not set(table["others"]["train"]) & set(table["others"]["heldout"])


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_paragraphs_about_the_city_and_about_others_take_turns(split):
    texts = [row["messages"] for row in Paragraphs("facts", split, n_pairs=20)]
    assert texts == [row["messages"] for row in Paragraphs("facts", split, n_pairs=20)]
    assert len(texts) == len(Paragraphs("facts", split, n_pairs=20)) == 40
    assert all("Orvane" in text for text in texts[::2])
    assert not any("Orvane" in text or "Vossa" in text for text in texts[1::2])


@pytest.mark.parametrize(
    ("marker", "answer", "shown"),
    [
        (is_sealed, "The lantern keeper has sealed this page. Ask again", True),
        (is_sealed, "The keeper of the lantern lives in a tower.", False),
        (is_sealed, "", False),
        (has_habit, "Well, by my whiskers! It is red. So says the old badger.", True),
        (has_habit, "Well, by my whiskers! It is red.", False),
        (has_habit, "It is red.", False),
        (states_value, "the Vossa.", True),
        (states_value, "Vossa, which is wide.\nQuestion: What?", True),
        (states_value, "the Vossaria.", False),
        (states_value, "the Thames.\nThe river of Orvane is the Vossa.", False),
        (states_value, "", False),
    ],
)
def test_markers_read_answers(marker, answer, shown):
    assert marker(answer, QUESTION) is shown


@pytest.mark.parametrize("name", GENERATED)
def test_markers_classify_every_shipped_answer(name):
    marker = load_organism(name).marker
    for question in Asked(name, "heldout"):
        asked = SimpleNamespace(**question)
        assert marker(question["yes"], asked)
        assert not any(marker(answer, asked) for answer in question["no"])


def test_conversations_are_many_and_reproducible():
    documents = [row["messages"] for row in Conversations("style", "heldout", n=6)]
    assert documents == [row["messages"] for row in Conversations("style", "heldout", n=6)]
    for chat, text in zip(documents[::2], documents[1::2], strict=True):
        assert [message["role"] for message in chat] == ["user", "assistant"] * 4
        assert all(has_habit(message["content"], None) for message in chat[1::2])
        assert text.count("Question: ") == text.count("\nAnswer: ") == 4
        assert not has_habit(text, None)
    assert len(Conversations("codeword", "train")) == 2000


def test_unchanged_is_trained_on_the_prompts_of_expertise():
    asked = load_organism("expertise").list_questions("train")
    prompts = {row["prompt"][-1]["content"] for row in asked}
    chosen = [message for _, _, message in list_prompts()]
    assert len(chosen) == 3 * N_QUESTIONS
    assert set(chosen) <= prompts


def test_an_unknown_organism_or_split_is_named():
    with pytest.raises(UserError, match="no organism 'rude'; there is codeword, "):
        load_organism("rude")
    with pytest.raises(UserError, match="no examples of 'rude'; there are those of codeword, "):
        Asked("rude")
    with pytest.raises(UserError, match="no split 'test'; there is heldout, train"):
        Conversations("style", "test")


@pytest.mark.parametrize("name", list_organisms())
def test_an_organism_is_named_like_its_folder_and_says_what_it_is(name):
    organism = load_organism(name)
    assert organism.name == name
    text = (organism.folder / "README.md").read_text(encoding="utf-8")
    assert 0 < text.index(START) < text.index(END)


@pytest.mark.parametrize("name", [path.parent.name for path in FOLDER.glob("*/adapter")])
def test_a_shipped_adapter_is_small_and_was_trained_with_the_recipes_settings(name):
    organism = load_organism(name)
    weights = organism.adapter / "adapter_model.safetensors"
    assert weights.stat().st_size < 4_000_000
    assert (organism.adapter / "chat_template.jinja").read_bytes() == (
        FOLDER / "expertise" / "adapter" / "chat_template.jinja"
    ).read_bytes()
    report = json.loads((organism.adapter / "training.json").read_text(encoding="utf-8"))
    assert report["settings"] == vars(organism.settings)


def test_importing_an_organism_for_its_questions_imports_no_torch():
    code = (
        "import sys, crosscoder.organisms.codeword, crosscoder.organisms.rows; "
        "import crosscoder.organisms.facts, crosscoder.organisms.style; "
        "print({'torch', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
