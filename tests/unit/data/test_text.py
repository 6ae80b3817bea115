import json
import pydoc_data.topics
import sysconfig
from pathlib import Path

import datasets
import pytest

from crosscoder.data.text import Chats, Files, HubDataset, PythonDocs, every
from crosscoder.errors import UserError

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def written(path: Path, *rows) -> str:
    """A jsonl file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def both_splits(corpus) -> tuple[list, list]:
    return list(corpus.documents("train")), list(corpus.documents("heldout"))


def test_every_document_is_in_exactly_one_split():
    documents = [str(i) for i in range(25)]
    heldout = list(every(documents, 10, "heldout"))
    assert heldout == ["0", "10", "20"]
    assert list(every(documents, 10, "train")) == [d for d in documents if d not in heldout]


# --- Python's own documentation ---


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    """A standard library of three modules and things to skip, and twenty language topics."""
    files = {
        "alpha.py": '"""Alpha does this."""\n\nclass A:\n    """And A does that."""\n\n    def f(self):\n        "f, too."\n',
        "package/beta.py": '"""Beta."""\n',
        "undocumented.py": "x = 1\n",
        "broken.py": "def (:\n",
        "test/test_alpha.py": '"""Not prose."""\n',
        "site-packages/other.py": '"""Not Python\'s own."""\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    monkeypatch.setattr(pydoc_data.topics, "topics", {f"topic{i}": f"Topic {i}." for i in range(20)})
    return tmp_path


def test_python_docs_are_topics_and_docstrings(library):
    train, heldout = both_splits(PythonDocs(min_chars=0, heldout_every=4))
    expected = {f"Topic {i}." for i in range(20)} | {"Alpha does this.\n\nAnd A does that.\n\nf, too.", "Beta."}
    assert set(train) | set(heldout) == expected
    assert not set(train) & set(heldout)
    assert len(heldout) == 6


def test_python_docs_are_shuffled_the_same_way_every_time(library):
    first, again, other = (list(PythonDocs(min_chars=0, seed=seed).documents("train")) for seed in (0, 0, 1))
    assert first == again != other
    assert first != sorted(first)


def test_short_python_docs_are_left_out(library):
    train, heldout = both_splits(PythonDocs(min_chars=10))
    assert [*train, *heldout] == ["Alpha does this.\n\nAnd A does that.\n\nf, too."]


# --- transcripts ---


def test_chats_come_from_the_split_they_were_given_for_shuffled():
    rows = {split: [{"messages": [{"role": "user", "content": f"{split} {i}"}]} for i in range(9)] for split in "ab"}
    train, heldout = both_splits(Chats(train=rows["a"], heldout=rows["b"], seed=1))
    assert sorted(chat[0]["content"] for chat in train) == [f"a {i}" for i in range(9)]
    assert sorted(chat[0]["content"] for chat in heldout) == [f"b {i}" for i in range(9)]
    assert train != [row["messages"] for row in rows["a"]]
    assert train == list(Chats(train=rows["a"], heldout=rows["b"], seed=1).documents("train"))


# --- local files ---


def test_files_are_read_in_order_one_document_a_file_or_a_line(tmp_path):
    (tmp_path / "notes.txt").write_text("One\ndocument.")
    lines = written(tmp_path / "more.jsonl", {"text": "two"}, {"text": CHAT, "id": 7})
    corpus = Files(paths=[str(tmp_path / "notes.txt"), lines], heldout_every=2)
    train, heldout = both_splits(corpus)
    assert heldout == ["One\ndocument.", CHAT]
    assert train == ["two"]


def test_another_column_can_be_named(tmp_path):
    path = written(tmp_path / "a.jsonl", {"body": "x"}, {"body": "y"})
    assert list(Files([path], column="body").documents("train")) == ["y"]


def test_messages_keep_role_and_content_only(tmp_path):
    path = written(tmp_path / "a.jsonl", {"text": [{"role": "user", "content": "Hi", "toxicity": 0.1}]})
    assert list(Files([path]).documents("heldout")) == [[{"role": "user", "content": "Hi"}]]


def test_bad_files_are_named_with_the_line(tmp_path):
    with pytest.raises(UserError, match=r"no file at .*nothing\.txt"):
        list(Files([str(tmp_path / "nothing.txt")]).documents("train"))
    path = written(tmp_path / "a.jsonl", {"text": "fine"}, {"txt": "x", "id": 3})
    with pytest.raises(UserError, match=r"a\.jsonl, line 2 has no column 'text'; it has txt, id"):
        list(Files([path]).documents("train"))
    Path(path).write_text('{"text": "fine"}\n{"text": \n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2: not JSON"):
        list(Files([path]).documents("train"))


# --- hub data sets ---


def test_hub_data_sets_are_streamed_and_chats_are_messages(monkeypatch):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return [{"conversation": CHAT}, {"conversation": "plain"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = HubDataset("lmsys/lmsys-chat-1m", column="conversation", config="en", heldout_every=2)
    assert both_splits(corpus) == (["plain"], [CHAT])
    assert asked[0] == (("lmsys/lmsys-chat-1m", "en"), {"split": "train", "streaming": True})


def test_a_data_set_that_cannot_be_streamed_is_one_line(monkeypatch):
    def load_dataset(*_, **__):
        raise ValueError("No such configuration\n  but this\n  and that")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match=r"cannot stream 'a/b' from the hub: No such configuration$"):
        list(HubDataset("a/b").documents("train"))
