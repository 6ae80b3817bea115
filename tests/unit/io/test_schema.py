import json
from dataclasses import dataclass

import pytest

from crosscoder.errors import UserError
from crosscoder.io.schema import Object, Plain, parse_json, read_json, read_yaml


@dataclass
class Shape:
    width: int
    norms: dict[str, float]


def test_what_fits_the_schema_is_read(tmp_path):
    path = tmp_path / "shape.json"
    path.write_text('{"width": 3, "norms": {"base": 1.5}}')
    assert read_json(path, Shape) == Shape(3, {"base": 1.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"width": "3", "norms": {}}', "width: input should be a valid integer, not '3'"),
        ('{"width": true, "norms": {}}', "width: input should be a valid integer, not True"),
        ('{"width": 3}', "norms: field required"),
        (
            '{"width": 3, "norms": {"base": null}}',
            "norms.base: input should be a valid number, not None",
        ),
        ("[" * 100_000, "recursion limit exceeded"),
        ('{"width": 3, "norms": {"\\ud800": 1}}', "invalid JSON"),
        ("", "EOF"),
        ("\ud800", "unable to parse raw data as a unicode string"),
        (b"\xff", "invalid JSON"),
        ("[]", "not \\[\\]"),
    ],
)
def test_anything_else_is_one_line_with_its_place(text, message):
    with pytest.raises(UserError, match=f"^shape.json: .*{message}") as error:
        parse_json(text, Shape, "shape.json")
    assert len(str(error.value).splitlines()) == 1


def test_long_values_are_cut_and_further_faults_counted():
    with pytest.raises(UserError, match=r"….* \(and 1 more\)") as error:
        parse_json(f'{{"width": "{"9" * 1000}", "norms": 1}}', Shape, "shape")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["1", "1.5", "true", "null", '"x"', '[1, {"a": [2.5, null]}]'])
def test_plain_values_are_what_they_are(text):
    assert parse_json(text, Plain, "x") == json.loads(text)
    assert type(parse_json(text, Plain, "x")) is type(json.loads(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1e999", "a number is not finite"),
        ('{"a": [NaN]}', "a number is not finite"),
        ("1" + "0" * 30, "does not fit into 64 bits"),
        ("1" + "0" * 5000, "number out of range"),
    ],
)
def test_numbers_that_would_fail_later_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_json(text, Plain, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a {b: 1}\nc: *a", "refers to parts of itself"),
        ("[" * 100_000, "is not YAML"),
        ("a: !!python/object:os.system x", "is not YAML"),
        ('a: "\\ud800"', "a text is not Unicode"),
        ("a: 2020-01-01", "date is no plain value"),
        ("1: 2", "valid string"),
        ("a: \x00", "is not YAML"),
        ("- a", "valid dictionary"),
    ],
)
def test_yaml_that_is_no_plain_mapping_is_one_line(text, message, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^.*config\.yaml.*{message}") as error:
        read_yaml(path, Object)
    assert len(str(error.value).splitlines()) == 1


def test_yaml_of_plain_values_is_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: {b: [1, 2.5, null, true, x]}")
    assert read_yaml(path, Object) == {"a": {"b": [1, 2.5, None, True, "x"]}}
