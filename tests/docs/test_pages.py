"""Check README and the pages without running them: their blocks, marks and links."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docs.blocks import (
    COMMENT,
    FENCED,
    LANGUAGES,
    MARK,
    ROOT,
    Block,
    list_pages,
    parse_blocks,
)
from tests.docs.running import shrink, split_commands

pytestmark = pytest.mark.quick

PAGES = list_pages()
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LOOKS_LIKE_MARK = re.compile(r"(not[ -]?run|run[ -]?with|file)\b.*")
# only this page has blocks of the kind "console", which test_installed.py runs in a new environment
CONSOLE_PAGE = "docs/install.md"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?: \"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.*?)(?: *\{ *#(\S+) *\})?$", re.MULTILINE)
MADE = "<!-- made by: "  # of a page that has further headings on the site


def list_faults(text: str, page: str) -> list[str]:
    """List what is wrong with the blocks of a page and with their marks."""
    faults = []
    blocks = list(parse_blocks(text, page))
    for block in blocks:
        faults += [f"{block.place}: {fault}" for fault in find_faults(block)]
    written = []
    for line in FENCED.sub("", text).splitlines():
        comment = COMMENT.fullmatch(line)
        if comment and LOOKS_LIKE_MARK.fullmatch(comment["text"]):
            written.append(comment["text"])
    faults += [f"{page}: no mark: {one}" for one in written if not MARK.fullmatch(one)]
    if len(written) != sum(len(block.marks) for block in blocks):
        faults.append(f"{page}: a mark is not directly above a block")
    return faults


def find_faults(block: Block) -> list[str]:
    """List what is wrong with a block."""
    faults = []
    if block.language not in LANGUAGES:
        faults.append(f"expected one of {', '.join(LANGUAGES)}, found {block.language!r}")
    if block.language == "console" and block.page != CONSOLE_PAGE:
        faults.append(f"console belongs to {CONSOLE_PAGE} alone: use bash and text")
    faults += [f"'{kind}' has no value" for kind, value in block.marks.items() if not value]
    try:
        parse(block)
    except ValueError as error:
        faults.append(str(error))
    return faults


def parse(block: Block) -> None:
    """Parse a block of data.

    Raises:
        ValueError: It is not what its language says.
    """
    if block.language == "json":
        lines = [block.text] if block.text.count("\n{") == 0 else block.text.splitlines()
        for line in lines:
            json.loads(line)
    if block.language == "toml":
        tomllib.loads(block.text)
    if block.language == "yaml":
        try:
            yaml.safe_load(block.text)
        except yaml.YAMLError as error:
            raise ValueError(f"no YAML: {error}") from error


def list_links(text: str) -> list[str]:
    """List the links of a page to files, without its code."""
    prose = re.sub(r"`[^`\n]+`", "", FENCED.sub("", text))
    links = [found[1] for found in LINK.finditer(prose)]
    return [link for link in links if not re.match(r"[a-z]+:", link)]


def list_anchors(text: str) -> set[str]:
    """List the anchors of a page's headings, as code hosts make them."""
    anchors = set(re.findall(r'<\w+ id="([^"]+)"', text))
    for title, anchor in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        anchors.add(anchor or re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return anchors


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_blocks_have_a_known_language_and_marks_have_reasons(page: Path):
    assert not list_faults(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path):
    dead = []
    for link in list_links(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            dead.append(link)
        elif anchor and target.suffix == ".md":
            text = target.read_text(encoding="utf-8")
            if MADE not in text and anchor not in list_anchors(text):
                dead.append(link)
    assert not dead


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```\nls\n```\n", "found ''"),
        ("```sh\nls\n```\n", "found 'sh'"),
        ("<!-- not run: -->\n```bash\nls\n```\n", "'not run' has no value"),
        ("<!-- not run -->\n```bash\nls\n```\n", "no mark: not run"),
        ("<!-- notrun: because -->\n```bash\nls\n```\n", "no mark: notrun: because"),
        ("<!-- not run: because -->\n\nA text.\n\n```bash\nls\n```\n", "not directly above"),
        ("```json\n{'a': 1}\n```\n", "Expecting property name"),
        ("```yaml\na: [\n```\n", "no YAML"),
        ("```console\n$ ls\n```\n", "console belongs to"),
    ],
)
def test_a_faulty_block_is_reported(text, fault):
    faults = list_faults(text, "docs/page.md")
    assert any(fault in one for one in faults), faults


def test_a_good_page_has_no_faults():
    text = (
        "<!-- file: a.jsonl -->\n```json\n{}\n{}\n```\n\n"
        "<!-- not run: it needs the hub -->\n<!-- run with: k=2 -->\n\n```bash\nls\n```\n"
        "1. A list.\n\n    ```text\n    out\n    ```\n"
    )
    assert not list_faults(text, "docs/page.md")
    file, commands, output = parse_blocks(text, "docs/page.md")
    assert file.marks == {"file": "a.jsonl"}
    assert commands.marks == {"not run": "it needs the hub", "run with": "k=2"}
    assert not file.is_run
    assert not commands.is_run
    assert output.text == "out\n"


def test_commands_are_split_as_a_shell_does():
    text = "a  # one\nb \\\n  c\nd 'e\n  f'\n# a remark\n"
    assert list(split_commands(text)) == ["a", "b c", "d 'e f'"]


def test_names_of_pairs_and_layers_become_those_of_the_tiny_pair():
    assert shrink('load_pair("gemma3_270m")') == 'load_pair("tiny")'
    assert shrink("models=gemma3_270m_it") == "models=tiny"
    assert shrink("[resid_post.5,mlp_out.9]") == "[resid_post.0,mlp_out.1]"
    assert shrink("resid_post.24") == "resid_post.1"
