"""Local files: the same documents in every format, and errors of one line with file and row."""

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosscoder.data.corpora import json_files, json_values, prose, tables
from crosscoder.data.corpora.rows import Row
from crosscoder.data.corpora.text import Files
from crosscoder.errors import UserError
from crosscoder.io import jsonl

TEXTS = ["One.", 'Two, with "quotes",\nand a line.', "Drei – äöü €", "Four\ttabs", "five"]
CHAT = [{"role": "user", "content": "Why? é"}, {"role": "assistant", "content": "Because."}]
SHAREGPT = [{"from": "human", "value": "Why? é"}, {"from": "gpt", "value": "Because."}]


def read_rows(*paths, **options) -> list[Row]:
    """Read all rows of some files, held-out ones first."""
    corpus = Files([str(path) for path in paths], **options)
    return [*corpus.rows("heldout"), *corpus.rows("train")]


def read_documents(*paths, **options) -> list:
    """Read all documents in order."""
    rows = read_rows(*paths, heldout_every=10_000, **options)
    assert [row.reason for row in rows if row.reason] == []
    return [row.document for row in rows]


def as_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_table(rows: list[dict], delimiter: str) -> str:
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue()


WRITTEN: dict[str, Callable[[list[dict]], str]] = {
    "jsonl": as_lines,
    "ndjson": as_lines,
    "json that is jsonl": as_lines,
    "json": lambda rows: json.dumps(rows),
    "json, indented": lambda rows: json.dumps(rows, indent=2),
    "json under a key": lambda rows: json.dumps({"version": "1.0", "data": rows, "tags": ["a"]}),
    "json under a key, indented": lambda rows: json.dumps({"rows": rows}, indent=1),
    "jsonl that is json": lambda rows: json.dumps(rows),
    "jsonl that is json, indented": lambda rows: json.dumps(rows, indent=2),
    "csv": lambda rows: as_table(rows, ","),
    "tsv": lambda rows: as_table(rows, "\t"),
}
CHANGED: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda content: content,
    "with a mark": lambda content: b"\xef\xbb\xbf" + content,
    "with a blank line at the end": lambda content: content + b"\n\n",
    "without the last line end": lambda content: content.rstrip(b"\n"),
}


def get_ending(form: str) -> str:
    return form.partition(",")[0].partition(" ")[0]


@pytest.mark.parametrize("change", CHANGED)
@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("value", [TEXTS, [CHAT, SHAREGPT, CHAT]], ids=["text", "chats"])
def test_every_format_holds_the_same_documents(form, change, value, tmp_path):
    path = tmp_path / f"a.{get_ending(form)}"
    rows = [{"id": i, "text": one} for i, one in enumerate(value)]
    path.write_bytes(CHANGED[change](WRITTEN[form](rows).encode()))
    assert read_documents(path) == (value if value is TEXTS else [CHAT] * 3)


@pytest.mark.parametrize("form", ["jsonl", "json, indented", "csv"])
def test_windows_line_ends_change_nothing(form, tmp_path):
    path = tmp_path / f"a.{get_ending(form)}"
    rows = [{"text": text} for text in TEXTS if "\n" not in text]
    path.write_bytes(WRITTEN[form](rows).replace("\n", "\r\n").encode())
    assert read_documents(path) == [row["text"] for row in rows]


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "txt"])
def test_compressed_files_are_read(form, ending, tmp_path):
    path = tmp_path / f"a.{form}.{ending}"
    content = TEXTS[2] if form == "txt" else WRITTEN[form]([{"text": text} for text in TEXTS])
    path.write_bytes(COMPRESS[ending](content.encode()))
    assert read_documents(path) == ([TEXTS[2]] if form == "txt" else TEXTS)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-12], lambda content: b"no such thing" * 9]
)
def test_damaged_compressed_files_are_an_error_of_one_line(ending, spoil, tmp_path):
    path = tmp_path / f"a.jsonl.{ending}"
    path.write_bytes(
        spoil(COMPRESS[ending](as_lines([{"text": text} for text in TEXTS * 50]).encode()))
    )
    with pytest.raises(UserError, match=rf"cannot read .*a\.jsonl\.{ending}: .") as error:
        read_rows(path)
    assert "\n" not in str(error.value)


# --- parquet ---


def test_parquet_columns_of_every_type_are_read(tmp_path):
    made = {
        "plain": pa.array(TEXTS),
        "large": pa.array(TEXTS, pa.large_string()),
        "dictionary": pa.array(TEXTS).dictionary_encode(),
        "chats": pa.array([SHAREGPT] * 5),
    }
    for name, array in made.items():
        pq.write_table(
            pa.table({"id": range(5), "text": array}),
            tmp_path / f"{name}.parquet",
            row_group_size=2,
        )
        assert read_documents(tmp_path / f"{name}.parquet") == (
            [CHAT] * 5 if name == "chats" else TEXTS
        )


def test_parquet_files_written_by_datasets_are_read(tmp_path):
    one = {"role": datasets.Value("string"), "content": datasets.Value("string")}
    columns = {"role": ["user", "assistant"], "content": ["Why? é", "Because."]}
    for feature, chat in (([one], CHAT), (datasets.Sequence(one), columns)):
        features = datasets.Features({"messages": feature})
        datasets.Dataset.from_dict({"messages": [chat] * 3}, features).to_parquet(
            tmp_path / "a.parquet"
        )
        assert read_documents(tmp_path / "a.parquet", column="messages") == [CHAT] * 3


def test_rows_of_parquet_are_numbered(tmp_path):
    table = pa.table({"text": pa.array(["a", None, "b"])})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    (bad,) = [row for row in read_rows(tmp_path / "a.parquet") if row.reason]
    assert bad.where == f"{tmp_path / 'a.parquet'}, row 2"
    assert "found None" in bad.reason


def test_the_error_about_a_missing_parquet_column_lists_the_columns(tmp_path):
    pd.DataFrame({"prompt": ["a"], "answer": ["b"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet has no column 'text'; it has prompt, answer"):
        read_rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_an_invalid_parquet_file_is_an_error_of_one_line(content, tmp_path):
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*a\.parquet: ."):
        read_rows(tmp_path / "a.parquet")


def test_invalid_text_in_parquet_is_a_row_with_a_reason(tmp_path):
    binary = pa.array([b"fine", b"caf\xe9"])
    pq.write_table(pa.table({"text": binary}), tmp_path / "bytes.parquet")
    assert all("found b" in row.reason for row in read_rows(tmp_path / "bytes.parquet"))
    text = pa.StringArray.from_buffers(2, binary.buffers()[1], binary.buffers()[2])
    pq.write_table(pa.table({"text": text}), tmp_path / "text.parquet")
    (bad,) = [row for row in read_rows(tmp_path / "text.parquet") if row.reason]
    assert (bad.where[-5:], bad.reason) == ("row 2", "not text in UTF-8 (byte 4)")


# --- what is wrong is named by file and row ---


@pytest.mark.parametrize("form", ["txt", "jsonl", "json", "csv", "tsv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(form, encoding, tmp_path):
    path = tmp_path / f"a.{form}"
    content = "Some text." if form == "txt" else WRITTEN[form]([{"text": text} for text in TEXTS])
    path.write_bytes(content.encode(encoding))
    try:
        (row,) = read_rows(path)
        said = f"{row.where}: {row.reason}"
    except UserError as error:
        said = str(error)
    assert str(path) in said
    assert encoding[:6].upper() in said
    assert "save it as UTF-8" in said


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "tsv"])
def test_a_row_in_latin_1_is_left_out_and_named(form, tmp_path):
    path = tmp_path / f"a.{form}"
    content = WRITTEN[form]([{"text": text} for text in ("one", "caf\xe9", "two")])
    content = content.replace("\\u00e9", "\xe9")
    path.write_bytes(content.encode("latin-1"))
    rows = read_rows(path)
    assert [row.document for row in rows] == ["one", None, "two"]
    assert "not text in UTF-8" in rows[1].reason
    place = {"jsonl": "line 2", "json": "row 2", "csv": "line 3", "tsv": "line 3"}[form]
    assert rows[1].where == f"{path}, {place}"


WRONG = {
    "a cut list": ("a.json", '[{"text": "a"}, {"text": "b', r"a\.json, row 2: not JSON .*cut off"),
    "a list without end": ("a.json", '[{"text": "a"}', r"a\.json, row 1: not JSON .*cut off"),
    "a comma too many": (
        "a.json",
        '[{"text": "a"},]',
        r"a\.json, row 1: not JSON \(the list ends after a comma\)",
    ),
    "no comma": (
        "a.json",
        '[{"text": "a"}\n {"text": "b"}]',
        r"a\.json, row 1: not JSON \(expected , or \]",
    ),
    "more after a list": (
        "a.json",
        '[\n{"text": "a"}]\n[1]',
        r"a\.json is not JSON: '\[' follows the end of the list of 1",
    ),
    "no JSON": ("a.json", "Some text.", r"a\.json is not JSON: it begins with 'S'"),
    "nested": (
        "a.json",
        "[" * 100_000,
        r"a\.json, row 1: not JSON that can be read \(nested too deeply\)",
    ),
    "nested in an object": ("a.json", '{"b":' * 100_000, r"a\.json: invalid JSON"),
    "a long number": (
        "a.json",
        "[1, " + "9" * 6000 + "]",
        r"a\.json, row 2: not JSON that can be read",
    ),
    "a cut object": ("a.json", '{"data": [{"text": "a"}', r"a\.json: invalid JSON: EOF"),
    "two lists": (
        "a.json",
        '{"train": [{"text": "a"}], "test": [{"text": "b"}]}',
        r"a\.json is one object with lists under train, test: write the rows as a list",
    ),
    "no list": ("a.json", '{"a": 1, "b": [1]}', r"one object with no list of objects, but a, b"),
    "columns": (
        "a.json",
        '{"text": {"0": "a", "1": "b"}}',
        r"a\.json holds columns, not rows.*orient='records'",
    ),
    "lists in columns": ("a.json", '{"text": ["a", "b"]}', r"a\.json holds columns, not rows"),
    "an open quote": (
        "a.csv",
        'text\n"one\ntwo\nthree\n',
        r"a\.csv, line 2: not a row that can be read .*quotes are closed",
    ),
    "text after a quote": (
        "a.csv",
        'id,text\n1,a\n2,"b"c\n',
        r"a\.csv, line 3: not a row that can be read",
    ),
    "two columns": ("a.csv", "text,text\na,b\n", r"a\.csv has 2 columns 'text'"),
    "no header": (
        "a.csv",
        "Some line\nAnother\n",
        r"a\.csv has no column 'text' in its first 1 rows; it has Some line",
    ),
    "a pointer": (
        "a.txt",
        "version https://git-lfs.github.com/spec/v1\noid",
        r"a\.txt is a Git LFS pointer.*git lfs pull",
    ),
    "another column": (
        "a.jsonl",
        '{"conversations": []}\n',
        r"it has conversations: name it, e\.g\. data\.corpora\.0\.column=conversations",
    ),
    "strange names": (
        "a.jsonl",
        json.dumps({"\x1b[31m" + "k" * 900: 1}),
        r"it has \\x1b\[31mk{32}…$",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_invalid_files_are_an_error_of_one_line(case, tmp_path):
    name, content, message = WRONG[case]
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_rows(tmp_path / name)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_invalid_rows_of_a_table_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"a\nb"\n\n2\n3,c,d\n4,"[{broken"\n5,e\n')
    bad = [(row.where, row.reason) for row in read_rows(path) if row.reason]
    assert [where for where, _ in bad] == [f"{path}, line {number}" for number in (5, 6, 7)]
    assert [reason[:25] for _, reason in bad] == [
        "it has 1 cells, but the f",
        "it has 3 cells, but the f",
        "it begins like a chat, bu",
    ]
    assert documents_of_usable(path) == ["a\nb", "e"]


def documents_of_usable(path: Path) -> list:
    return [row.document for row in read_rows(path) if not row.reason]


def test_one_object_with_the_column_is_one_document(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"text": CHAT}, indent=1))
    assert read_documents(tmp_path / "a.json") == [CHAT]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.json.gz"])
def test_empty_files_have_no_rows(name, tmp_path):
    (tmp_path / name).write_bytes(
        gzip.compress(b"") if name.endswith("gz") else b"\n \n" if name == "a.json" else b""
    )
    assert read_rows(tmp_path / name) == []


# --- sizes ---


def test_values_may_span_any_number_of_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(json_values, "CHUNK", 3)
    rows = [{"text": text * 9} for text in TEXTS]
    (tmp_path / "a.json").write_text(json.dumps([*rows, 12345, {"text": "end"}], indent=1))
    found = read_rows(tmp_path / "a.json", heldout_every=1000)
    assert [row.document for row in found] == [*(text * 9 for text in TEXTS), None, "end"]
    assert "12345" in found[5].reason


def test_too_long_lines_are_skipped(tmp_path, monkeypatch):
    for module in (jsonl, json_files, json_values, tables):
        monkeypatch.setattr(module, "LONGEST", 100)
    rows = [{"text": "one"}, {"text": "x" * 950}, {"text": "two"}]
    (tmp_path / "a.jsonl").write_text(as_lines(rows))
    found = read_rows(tmp_path / "a.jsonl")
    assert [(row.where[-6:], row.document) for row in found] == [
        ("line 1", "one"),
        ("line 2", None),
        ("line 3", "two"),
    ]
    assert "longer than 100 bytes" in found[1].reason
    (tmp_path / "a.csv").write_text(as_table(rows, ","))
    with pytest.raises(UserError, match=r"a\.csv, line 3: longer than 100 characters"):
        read_rows(tmp_path / "a.csv")
    monkeypatch.setattr(json_values, "CHUNK", 10)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"a\.json, row 2: .*no value ends within 100 characters"):
        read_rows(tmp_path / "a.json")


def test_a_too_large_object_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "MAX_OBJECT_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"text": "x" * 200}]}))
    with pytest.raises(UserError, match=r"a\.json is one JSON object of more than"):
        read_rows(tmp_path / "a.json")


@pytest.fixture
def short_pieces(monkeypatch):
    monkeypatch.setattr(prose, "MAX_PIECE", 40)
    monkeypatch.setattr(prose, "LONG", 300)
    monkeypatch.setattr(prose, "MIN_PIECE", 40)


@pytest.mark.parametrize("between", [" ", "\n", "\r\n", ""])
def test_the_pieces_of_a_long_text_are_the_whole_text(between, short_pieces, tmp_path):
    text = between.join(f"word{i}é" for i in range(100))
    (tmp_path / "a.txt").write_bytes(text.encode())
    rows = read_rows(tmp_path / "a.txt", heldout_every=1000)
    assert "".join(row.document for row in rows) == text.replace("\r\n", "\n")
    assert max(len(row.document) for row in rows) <= 40
    assert [row.where for row in rows[:2]] == [
        f"{tmp_path / 'a.txt'}, piece {number}" for number in (1, 2)
    ]
    if between:
        assert all(row.document[-1] in " \n" for row in rows[:-1])


def test_texts_are_read_in_pieces_if_there_are_too_few_for_every_split(short_pieces, tmp_path):
    text = "Some words. " * 20
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.txt").write_text("Short.")
    (tmp_path / "c.jsonl").write_text('{"text": "row"}')
    assert len(read_documents(tmp_path / "a.txt")) == 7
    assert len(read_documents(tmp_path / "a.txt", tmp_path / "b.txt")) == 8
    assert read_documents(tmp_path / "a.txt", tmp_path / "c.jsonl") == [text, "row"]
    corpus = Files([str(tmp_path / "a.txt")] * 5, heldout_every=4)
    assert list(corpus.documents("train")) == [text] * 3
    corpus = Files(str(tmp_path / "a.txt"), heldout_every=4)
    assert len(list(corpus.documents("train"))) == 5
    assert len(list(corpus.documents("heldout"))) == 2


def test_a_short_text_has_short_pieces_so_that_every_split_gets_some(tmp_path):
    (tmp_path / "a.txt").write_text("Some words. " * 10_000)
    assert 64 <= len(read_documents(tmp_path / "a.txt")) < 70
    (tmp_path / "a.txt").write_text("Some words. " * 500)
    assert 6 <= len(read_documents(tmp_path / "a.txt")) < 10


def test_only_the_piece_that_is_not_utf_8_is_left_out(short_pieces, tmp_path):
    content = b"\xef\xbb\xbf" + b"Some words. " * 10 + b"caf\xe9 " + b"Some words. " * 20
    (tmp_path / "a.txt").write_bytes(content)
    rows = read_rows(tmp_path / "a.txt", heldout_every=1000)
    (bad,) = [row for row in rows if row.reason]
    assert bad.reason.startswith("not text in UTF-8 (byte ")
    assert rows[0].document.startswith("Some words")


# --- paths ---


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in (
        "data/b.jsonl",
        "data/a.jsonl",
        "data/more/c.jsonl.gz",
        "data/.hidden/d.jsonl",
        "notes [1].txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        content = as_lines([{"text": name}]).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    return tmp_path


def test_a_single_path_needs_no_brackets(folder):
    for path in (folder / "data/a.jsonl", str(folder / "data/a.jsonl")):
        assert list(Files(path).documents("heldout")) == ["data/a.jsonl"]


def test_a_folder_and_a_pattern_are_read_in_the_order_of_names(folder, monkeypatch):
    everything = ["data/a.jsonl", "data/b.jsonl", "data/more/c.jsonl.gz"]
    assert read_documents(folder / "data") == everything
    assert read_documents(folder / "data" / "**" / "*.jsonl*") == everything
    assert read_documents(folder / "data" / "*.jsonl", folder / "data" / "b.jsonl") == [
        *everything[:2],
        everything[1],
    ]
    monkeypatch.chdir(folder)
    assert read_documents("data/[ab].jsonl") == everything[:2]
    monkeypatch.setenv("HOME", str(folder))
    assert read_documents("~/data/a.jsonl") == everything[:1]


def test_brackets_in_the_name_of_an_existing_file_are_not_a_pattern(folder):
    assert len(read_documents(folder / "notes [1].txt")) == 1


def test_paths_without_files_are_an_error_of_one_line(folder):
    (folder / "empty").mkdir()
    (folder / "data" / "LICENSE.md").write_text("As is.")
    (folder / "arrow").mkdir()
    (folder / "arrow" / "data-0.arrow").write_bytes(b"ARROW1")
    for path, message in [
        ("none.jsonl", r"no file at .*none\.jsonl"),
        ("*.csv", r"no file matches .*\*\.csv"),
        ("empty", r"the folder .*empty has no files"),
        ("arrow", r"data-0\.arrow cannot be read as text: expected"),
        (
            "data",
            r"files of several kinds: 1 \.txt \(such as LICENSE\.md\), "
            r"3 \.jsonl \(such as a\.jsonl\); give a pattern",
        ),
        ("arrow/*", r"data-0\.arrow cannot be read as text"),
    ]:
        with pytest.raises(UserError, match=message):
            read_rows(folder / path)


def test_a_pipe_is_refused_without_waiting(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: it is a pipe"):
        read_rows(tmp_path / "a.txt")
