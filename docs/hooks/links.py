"""Let links to files outside docs/ lead to pages of the site.

On a code host `[model.py](../crosscoder/core/model.py)` shows the file. The site has no such file:
there the link leads to the module's place in the API reference. A file of conf/ leads to its place
in the configuration reference, and a link to any other file becomes plain text.
"""

import posixpath
import re
from pathlib import Path

from docs.hooks.api import find_module
from docs.hooks.configuration import find_file

ROOT = Path(__file__).parents[2]
# documents outside docs/ that are pages of the site
INCLUDED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "crosscoder/organisms/expertise/README.md": "organism.md",
}
SAME = {"README.md": "index.md"}  # a page of the site with the same purpose
FENCED = re.compile(r"(^ {0,4}(`{3,}|~{3,}).*?^ *\2 *$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\[]*)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def rewrite_links(markdown: str, page: str, docs: Path) -> str:
    """Rewrite the links of a page, except in its blocks of code.

    Args:
        markdown: The page's text.
        page: Its path in the site.
        docs: The folder of the pages.
    """
    pieces = FENCED.split(markdown)
    # a piece of text, then a block and its fence, then text again
    for at in range(0, len(pieces), 3):
        pieces[at] = LINK.sub(lambda found: _rewrite(found, page, docs), pieces[at])
    del pieces[2::3]
    return "".join(pieces)


def _rewrite(found: re.Match, page: str, docs: Path) -> str:
    source = _find_source(page, docs)
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["target"]))
    if not (ROOT / path).exists():
        return found[0]  # a page that is made here, or a mistake that mkdocs reports
    target = find_page(path)
    if target is None:
        return found["text"]
    name, hash_sign, anchor = target.partition("#")
    relative = posixpath.relpath(name, posixpath.dirname(page) or ".")
    return f"[{found['text']}]({relative}{found['anchor'] or hash_sign + anchor})"


def _find_source(page: str, docs: Path) -> str:
    """Return the path, below the repository's root, of the file that a page is made from."""
    for path, name in INCLUDED.items():
        if name == page:
            return path
    return f"{docs.name}/{page}"


def find_page(path: str) -> str | None:
    """Return the page of the site, with an anchor, that a file or folder of the repository is on.

    Args:
        path: The path below the repository's root.

    Returns:
        The page's path and anchor; None if the site does not have it.
    """
    first, _, rest = path.partition("/")
    if path in INCLUDED:
        return INCLUDED[path]
    if path in SAME:
        return SAME[path]
    if first == "docs" and (ROOT / path).is_file():
        return rest
    if first == "conf":
        return find_file(ROOT / path)
    if first == "crosscoder":
        return find_module(ROOT / path)
    return None
