"""The page: a template with the report's list and cards, and the scripts of both."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jinja2 import ChoiceLoader, FileSystemLoader

from crosscoder.explore.session import Session
from crosscoder.report.html.page import ASSETS as REPORT_ASSETS
from crosscoder.report.html.page import Data, load_templates

ASSETS = Path(__file__).parent / "assets"
# of the report, in this order: its list of latents, and the card of one
REPORT_SCRIPTS = (
    "elements.js",
    "glyphs.js",
    "data.js",
    "search.js",
    "notes.js",
    "list.js",
    "contexts.js",
    "card.js",
    "downloads.js",
    "page.js",
)
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css"}


@dataclass(frozen=True)
class Page:
    """The page of a run.

    Args:
        session: The run that is explored.
        media_types: Media type of files by suffix; others are not served.
    """

    session: Session
    media_types: dict[str, str] = field(default_factory=lambda: dict(MEDIA_TYPES))

    @cached_property
    def html(self) -> str:
        """Render the page, once."""
        environment = load_templates()
        assert environment.loader is not None
        environment.loader = ChoiceLoader([FileSystemLoader(ASSETS), environment.loader])
        inputs = self.session.inputs
        chat, base = self.session.models
        return environment.get_template("explore.html.jinja").render(
            inputs=inputs,
            data=Data(inputs),
            report_scripts=REPORT_SCRIPTS,
            settings={
                "models": [base, chat],
                "run": str(self.session.run.folder),
                "n_latents": self.session.crosscoder.n_latents,
                "has_chats": bool(self.session.pair.tokenizer.chat_template),
            },
        )

    def find_asset(self, folder: str, name: str) -> Path | None:
        """Return a script or style sheet of the report or of this page; None for anything else."""
        folders = {"report": REPORT_ASSETS, "explore": ASSETS}
        known = {path.name: path for path in folders.get(folder, Path()).glob("*.*")}
        path = known.get(name)
        return path if path is not None and path.suffix in self.media_types else None
