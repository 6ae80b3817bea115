"""The generated pages of the reference are complete, and what is written by hand is true."""

import re

import pytest

from crosscoder.cli.conf_files import ConfFile
from crosscoder.core.sources import Sources
from crosscoder.errors import UserError
from docs.hooks.api import find_module, list_api_pages, name
from docs.hooks.command_line import write_help
from docs.hooks.configuration import find_file, write_configuration
from docs.hooks.error_messages import PACKAGE, list_messages, write_errors
from docs.hooks.links import rewrite_links
from docs.hooks.lists import indent_lists
from tests.docs.blocks import ROOT
from tests.helpers.configs import CONF

pytestmark = pytest.mark.quick


def test_every_module_is_on_one_page_of_the_api():
    text = "\n".join(page.text for page in list_api_pages())
    shown = re.findall(r"::: (\S+)", text)
    assert len(shown) == len(set(shown))
    written = {name(path) for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__")}
    assert len(written) > 250
    assert written <= set(shown)


def test_every_key_of_conf_is_in_the_configuration():
    page = write_configuration()
    for path in CONF.glob("*/*.yaml"):
        if path.parent.name == "hydra":
            continue
        title = f"{path.parent.name}={path.stem}"
        assert f"### {title} {{ #{title} }}" in page
        file = ConfFile(path)
        for key in file.list_keys(f"{file.package}." if file.package else ""):
            assert key.is_wired or f'id="{title}.{key.name}"' in page
    assert (
        '<span id="train.n_latents"></span>`n_latents` = `4096`\n:   size of the dictionary' in page
    )


def test_the_command_line_shows_what_the_commands_print():
    page = write_help()
    for words in (
        "n_latents=4096",
        "== Choices, set with GROUP=NAME",
        "usage: python -m crosscoder.formats export",
        "--input-scale",
    ):
        assert words in page


def test_the_message_of_an_error_is_in_the_list():
    with pytest.raises(UserError) as raised:
        Sources(())
    patterns = [message.pattern for message in list_messages()]
    expressions = [re.sub("<.*?>", ".*", re.escape(pattern)) for pattern in patterns]
    specific = [one for one in expressions if len(one.replace(".*", "")) > 20]
    assert any(re.fullmatch(one, str(raised.value)) for one in specific)
    assert len(patterns) > 500
    assert "&lt;shape&gt;" in write_errors()


def test_common_errors_are_messages_of_the_package():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- common errors -->\n(.*)<!-- end of", page, re.DOTALL)[1]
    rows = table.splitlines()[2:]
    assert len(rows) == 12
    patterns = {message.pattern for message in list_messages()}
    for row in rows:
        assert re.match(r"\| `(.+?)` \|", row)[1] in patterns


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (
            "[a](../crosscoder/core/model.py)",
            "[a](reference/api/core.md#crosscoder.core.model)",
        ),
        ("[a](../crosscoder/core/sparse/)", "[a](reference/api/core.sparse.md)"),
        ("[a](../conf/loss/l1.yaml)", "[a](reference/configuration.md#loss=l1)"),
        ("[a](../conf/loss/)", "[a](reference/configuration.md#loss)"),
        ("[a](../LICENSE)", "a"),
        ("[a](../CONTRIBUTING.md#tests)", "[a](contributing.md#tests)"),
        ("[a](../README.md)", "[a](index.md)"),
        ("[a](log.md)", "[a](log.md)"),
        ("[a](missing.md)", "[a](missing.md)"),
        ("![a](tutorial/doses.png)", "![a](tutorial/doses.png)"),
        ("```text\n[a](../LICENSE)\n```", "```text\n[a](../LICENSE)\n```"),
    ],
)
def test_links_to_files_lead_to_pages(link, expected):
    assert rewrite_links(link, "findings.md", ROOT / "docs") == expected


def test_links_of_an_included_document_start_from_its_place():
    changed = rewrite_links("[a](docs/install.md)", "contributing.md", ROOT / "docs")
    assert changed == "[a](install.md)"
    deep = rewrite_links("[a](../../../conf/)", "organism.md", ROOT / "docs")
    assert deep == "[a](reference/configuration.md)"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("- a\n  b\n\n  c\n\nd", "- a\n    b\n\n    c\n\nd"),
        ("- a\n\n      code", "- a\n\n        code"),
        ("!!! note\n\n    - a\n      b", "!!! note\n\n    - a\n        b"),
        ("1. a\n   - b\n\n     c", "1. a\n    - b\n\n        c"),
        (
            "- a\n  ```text\n  - b\n    c\n  ```\n- d",
            "- a\n    ```text\n    - b\n      c\n    ```\n- d",
        ),
        ("```text\n- a\n  b\n```\n  c", "```text\n- a\n  b\n```\n  c"),
    ],
)
def test_lists_are_indented_by_four_columns(written, expected):
    assert indent_lists(written) == expected


def test_modules_and_settings_have_places():
    assert find_module(PACKAGE / "errors.py") == "reference/api/crosscoder.md#crosscoder.errors"
    assert find_module(PACKAGE / "report" / "__main__.py") == "reference/api/report.md"
    assert find_file(CONF / "hydra" / "launcher" / "slurm.yaml") == "reference/configuration.md"
