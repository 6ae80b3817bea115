"""Keys, defaults and comments of the YAML files."""

from crosscoder.cli.conf_files import ConfFile, Key, list_all_keys, list_choices

TEXT = """\
# @package eval.odd
# Odd eval, as in Minder et al. 2025. It has
# more to say.
_target_: package.Odd
n: 10_000  # number of tokens
mode: a    # a, or b:
           # slower
# which layers
layers: [1, 2]
text: "#1"  # a text
empty:
flow: {part: {k: 3}}  # a part in one line
nested:    # settings of a part
  k: ${k}
  rate: 1.0  # per token
list:
  - {a: 1}
  - b: ???  # a number, e.g. list.1.b=3
"""


def write(tmp_path, text: str) -> ConfFile:
    folder = tmp_path / "eval"
    folder.mkdir()
    (folder / "odd.yaml").write_text(text)
    return list_choices(tmp_path, "eval")["odd"]


def test_a_key_has_the_comment_behind_it_or_above_it(tmp_path):
    file = write(tmp_path, TEXT)
    assert file.package == "eval.odd"
    assert file.summary == "Odd eval, as in Minder et al. 2025"
    assert file.list_keys("eval.odd.") == [
        Key("eval.odd.n", "10_000", "number of tokens"),
        Key("eval.odd.mode", "a", "a, or b: slower"),
        Key("eval.odd.layers", "[1, 2]", "which layers"),
        Key("eval.odd.text", '"#1"', "a text"),
        Key("eval.odd.empty", "", ""),
        Key("eval.odd.flow", "{part: {k: 3}}", "a part in one line"),
        Key("eval.odd.flow.part", "{k: 3}", ""),
        Key("eval.odd.flow.part.k", "3", ""),
        Key("eval.odd.nested", "", "settings of a part"),
        Key("eval.odd.nested.k", "${k}", ""),
        Key("eval.odd.nested.rate", "1.0", "per token"),
        Key("eval.odd.list", "", ""),
        Key("eval.odd.list.0.a", "1", ""),
        Key("eval.odd.list.1.b", "???", "a number, e.g. list.1.b=3"),
    ]


def test_a_nested_key_that_passes_on_another_setting_is_wired(tmp_path):
    keys = {key.name: key.is_wired for key in write(tmp_path, TEXT).list_keys()}
    assert [name for name, is_wired in keys.items() if is_wired] == ["nested.k"]


def test_all_keys_of_a_command_include_those_of_choices(tmp_path):
    write(tmp_path, TEXT)
    (tmp_path / "evaluate.yaml").write_text("defaults:\n  - eval: [odd]\nseed: 0\n")
    keys = list_all_keys(tmp_path, "evaluate")
    assert keys["seed"] == []
    assert keys["eval"] == []
    assert keys["eval.odd.n"] == ["eval=odd"]
