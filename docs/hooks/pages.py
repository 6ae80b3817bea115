"""The hook of mkdocs: pages and parts of pages that are made when the site is built.

- `reference/api/*.md`: the API, one page per package (api.py).
- `<!-- made by: NAME -->` in a page is replaced by what the generator NAME writes.
- CONTRIBUTING, CHANGELOG and the organism's README are pages, too.
- Lists are indented as Python-Markdown expects (lists.py).
- Links to files outside docs/ lead to the reference (links.py).
"""

import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.api import list_api_pages, write_public_names, write_structure
from docs.hooks.command_line import write_help
from docs.hooks.configuration import write_configuration
from docs.hooks.error_messages import write_errors
from docs.hooks.links import INCLUDED, ROOT, rewrite_links
from docs.hooks.lists import indent_lists

MADE = re.compile(r"^<!-- made by: (\w+) -->$", re.MULTILINE)
GENERATORS: dict[str, Callable[[], str]] = {
    "command_line": write_help,
    "configuration": write_configuration,
    "errors": write_errors,
    "public_names": write_public_names,
    "structure": write_structure,
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the API to the navigation."""
    for section in config.nav:
        for entry in section.get("Reference", []):
            if "API" in entry:
                pages = list_api_pages()
                entry["API"] += [{page.title: page.path} for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages that are no files in docs/."""
    for page in list_api_pages():
        files.append(File.generated(config, page.path, content=page.text))
    for path, name in INCLUDED.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write the generated parts of a page, and let its links lead to pages of the site."""
    markdown = indent_lists(markdown)
    markdown = MADE.sub(lambda found: GENERATORS[found[1]](), markdown)
    return rewrite_links(markdown, page.file.src_uri, Path(config.docs_dir))
