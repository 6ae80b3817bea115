import json
import pydoc_data.topics
import sysconfig
from pathlib import Path

import datasets
import pytest

from crosscoder.data.corpora.corpus import take_split
from crosscoder.data.corpora.text import Chats, Files, HubDataset, PythonDocs
from crosscoder.errors import UserError

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]


def write_rows(path: Path, *rows) -> str:
    """Write a jsonl file of these rows and return its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def both_splits(corpus) -> tuple[list, list]:
    return list(corpus.documents("train")), list(corpus.documents("heldout"))


def test_every_document_is_in_exactly_one_split():
    documents = [str(i) for i in range(25)]
    heldout = list(take_split(documents, 10, "heldout"))
    assert heldout == ["0", "10", "20"]
    assert list(take_split(documents, 10, "train")) == [d for d in documents if d not in heldout]


# --- Python's own documentation ---


@pytest.fixture
def library(tmp_path, monkeypatch) -> Path:
    """Replace the standard library by two documented modules, and others to skip."""
    files = {
        "alpha.py": (
            '"""Alpha does this."""\n\nclass A:\n    """And A does that."""\n\n'
            '    def f(self):\n        "f, too."\n'
        ),
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
    monkeypatch.setattr(
        pydoc_data.topics, "topics", {f"topic{i}": f"Topic {i}." for i in range(20)}
    )
    return tmp_path


def test_python_docs_are_topics_and_docstrings(library):
    train, heldout = both_splits(PythonDocs(min_chars=0, heldout_every=4))
    expected = {f"Topic {i}." for i in range(20)} | {
        "Alpha does this.\n\nAnd A does that.\n\nf, too.",
        "Beta.",
    }
    assert set(train) | set(heldout) == expected
    assert not set(train) & set(heldout)
    assert len(heldout) == 6


def test_python_docs_are_shuffled_the_same_way_every_time(library):
    first, again, other = (
        list(PythonDocs(min_chars=0, seed=seed).documents("train")) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert first != sorted(first)


def test_short_python_docs_are_left_out(library):
    train, heldout = both_splits(PythonDocs(min_chars=10))
    assert [*train, *heldout] == ["Alpha does this.\n\nAnd A does that.\n\nf, too."]


# --- transcripts ---


def test_chats_are_shuffled_within_their_split():
    rows = {
        split: [{"messages": [{"role": "user", "content": f"{split} {i}"}]} for i in range(9)]
        for split in "ab"
    }
    train, heldout = both_splits(Chats(train=rows["a"], heldout=rows["b"], seed=1))
    assert sorted(chat[0]["content"] for chat in train) == [f"a {i}" for i in range(9)]
    assert sorted(chat[0]["content"] for chat in heldout) == [f"b {i}" for i in range(9)]
    assert train != [row["messages"] for row in rows["a"]]
    assert train == list(Chats(train=rows["a"], heldout=rows["b"], seed=1).documents("train"))


# --- local files ---


def test_a_text_file_or_a_line_is_a_document_in_order(tmp_path):
    (tmp_path / "notes.txt").write_text("One\ndocument.")
    lines = write_rows(tmp_path / "more.jsonl", {"text": "two"}, {"text": CHAT, "id": 7})
    corpus = Files(paths=[str(tmp_path / "notes.txt"), lines], heldout_every=2)
    train, heldout = both_splits(corpus)
    assert heldout == ["One\ndocument.", CHAT]
    assert train == ["two"]


def test_another_column_can_be_named(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", {"body": "x"}, {"body": "y"})
    assert list(Files([path], column="body").documents("train")) == ["y"]


def test_messages_keep_role_and_content_only(tmp_path):
    path = write_rows(
        tmp_path / "a.jsonl", {"text": [{"role": "user", "content": "Hi", "toxicity": 0.1}]}
    )
    assert list(Files([path]).documents("heldout")) == [[{"role": "user", "content": "Hi"}]]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no file at .*nothing\.txt"):
        list(Files([str(tmp_path / "nothing.txt")]).documents("train"))


@pytest.mark.parametrize(
    "name",
    ["a.arrow", "a.zip", "a.parquet.gz", "a.gz", "a.docx.gz", "a.safetensors", ".jsonl/a.pdf"],
)
def test_files_of_other_kinds_are_refused_before_they_are_read(name):
    with pytest.raises(
        UserError,
        match=r"cannot be read as text: expected \.txt, \.md or \.rst .* or \.jsonl, \.json",
    ) as error:
        Files(["fine.txt", name])
    assert name in str(error.value)


@pytest.mark.parametrize("name", ["notes", "README.md", "index.rst", "a.text"])
def test_other_endings_of_text_files_are_read_as_text(name, tmp_path):
    (tmp_path / name).write_text("Some prose.")
    assert both_splits(Files([str(tmp_path / name)], heldout_every=2))[1] == ["Some prose."]


def test_the_kind_of_a_file_follows_from_its_name_in_any_case(tmp_path):
    (tmp_path / "A.TXT").write_text("x")
    path = write_rows(tmp_path / "B.Jsonl", {"text": "y"})
    corpus = Files([tmp_path / "A.TXT", path], heldout_every=2)
    assert both_splits(corpus) == (["y"], ["x"])


@pytest.mark.parametrize("paths", ["", [], [5], 5, None, {"a": "b"}])
def test_invalid_paths_are_refused(paths, unchecked):
    message = (
        "paths is a file, a folder or a pattern, or a list of them, "
        r"e\.g\. \[notes\.txt,chats\.jsonl\], not"
    )
    with pytest.raises(UserError, match=message):
        Files(paths)


@pytest.mark.parametrize("value", [0, 1, -3, 2.5, float("nan"), True, "4", None])
@pytest.mark.parametrize(
    "make", [PythonDocs, lambda **o: Files(["a.txt"], **o), lambda **o: HubDataset("a/b", **o)]
)
def test_an_invalid_heldout_every_is_refused(make, value, unchecked):
    with pytest.raises(UserError, match="heldout_every is a whole number from 2, not"):
        make(heldout_every=value)


# --- rows that hold no document ---

BAD_LINES = {
    "not UTF-8": b'{"text":"caf\xe9"}',
    "UTF-16": b"\xff\xfe",
    "zeros": b"\x00" * 10,
    "a number": b"5",
    "null": b"null",
    "a list": b'["text"]',
    "a string": b'"text"',
    "not a number": b"NaN",
    "half an object": b'{"text": ',
    "brackets": b"[" * 100_000,
    "objects in objects": b'{"a":' * 100_000,
    "a huge number": b"9" * 6000,
    "a mark in the middle": b'\xef\xbb\xbf{"text":"x"}',
    "no column": b'{"txt":"x"}',
    "null text": b'{"text":null}',
    "a number for text": b'{"text":5}',
    "no messages": b'{"text":[]}',
    "no content": b'{"text":[{"role":"user"}]}',
    "null content": b'{"text":[{"role":"user","content":null}]}',
    "half a surrogate pair": b'{"text":"\\ud800"}',
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_a_line_without_a_document_is_a_row_with_a_reason(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "one"}\n' + line + b'\r\n\n  \n{"text": "two"}')
    rows = [*Files([path]).rows("heldout"), *Files([path]).rows("train")]
    assert [row.document for row in rows] == ["one", None, "two"]
    assert [row.where for row in rows] == [f"{path}, line {number}" for number in (1, 2, 5)]
    assert rows[1].reason
    assert "\n" not in rows[1].reason
    assert len(rows[1].reason) < 200
    assert list(Files([path]).documents("train")) == ["two"]


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\n')
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbftwo")
    assert both_splits(Files([tmp_path / "a.jsonl", tmp_path / "a.txt"], heldout_every=2)) == (
        ["two"],
        ["one"],
    )


def test_a_text_file_in_another_encoding_is_a_row_with_a_reason(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    (row,) = Files([tmp_path / "a.txt"]).rows("heldout")
    assert row.document is None
    assert row.reason.startswith("not text in UTF-8 (byte 4): save it as UTF-8")


def test_invalid_rows_count_in_the_choice_of_held_out_rows(tmp_path):
    rows = [{"text": str(i)} for i in range(12)]
    good = write_rows(tmp_path / "good.jsonl", *rows)
    for broken in (0, 1, 4):
        bad = write_rows(
            tmp_path / "bad.jsonl",
            *({"text": None} if i == broken else row for i, row in enumerate(rows)),
        )
        for here, there in zip(
            both_splits(Files([good], heldout_every=4)),
            both_splits(Files([bad], heldout_every=4)),
            strict=True,
        ):
            assert there == [document for document in here if document != str(broken)]


@pytest.mark.parametrize("n", [1, 5, 19, 20, 50])
def test_a_column_that_no_row_has_is_refused_at_once(tmp_path, n):
    path = write_rows(tmp_path / "a.jsonl", *({"txt": "x", "id": i} for i in range(n)))
    message = rf"a\.jsonl has no column 'text' in its first {min(n, 20)} rows; it has txt, id"
    for split in ("train", "heldout"):
        with pytest.raises(UserError, match=message):
            list(Files([path]).documents(split))


def test_transcripts_without_messages_are_rows_with_a_reason(tmp_path):
    rows = [{"messages": CHAT}, {"messages": None}, {"id": 3}]
    found = list(Chats(rows, rows).rows("train"))
    assert {row.where for row in found if row.document is None} == {
        "chats, train row 2",
        "chats, train row 3",
    }
    assert list(Chats(rows, rows).documents("train")) == [CHAT]


# --- hub data sets ---


def test_hub_data_sets_are_streamed(monkeypatch):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return [{"conversation": CHAT}, {"conversation": "plain"}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    corpus = HubDataset("lmsys/lmsys-chat-1m", column="conversation", config="en", heldout_every=2)
    assert both_splits(corpus) == (["plain"], [CHAT])
    assert asked[0] == (("lmsys/lmsys-chat-1m", "en"), {"split": "train", "streaming": True})


def test_rows_of_a_hub_data_set_without_a_document_are_named(monkeypatch):
    rows = [{"text": "a"}, {"text": None}, {"text": "b"}, {"text": 7}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: rows)
    found = [
        *HubDataset("a/b", heldout_every=2).rows("heldout"),
        *HubDataset("a/b", heldout_every=2).rows("train"),
    ]
    assert [row.where for row in found if row.reason] == ["a/b, row 2", "a/b, row 4"]
    with pytest.raises(UserError, match="a/b has no column 'txt' in its first 4 rows; it has text"):
        list(HubDataset("a/b", column="txt").documents("train"))


def test_a_data_set_that_cannot_be_streamed_is_an_error_of_one_line(monkeypatch):
    def load_dataset(*_, **__):
        raise ValueError("No such configuration\n  but this\n  and that")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        UserError, match=r"cannot stream 'a/b' from the hub: ValueError: No such configuration$"
    ):
        list(HubDataset("a/b").documents("train"))
