"""Write commands that a user can copy into a shell."""

import re
import shlex

# values that Hydra's grammar takes as they are
PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


def format_command(command: str, **settings: object) -> str:
    """Return `COMMAND KEY=VALUE …`, whose values are quoted for Hydra and for the shell."""
    words = [command]
    for key, value in settings.items():
        words.append(shlex.quote(f"{key}={_quote_for_hydra(str(value))}"))
    return " ".join(words)


def _quote_for_hydra(value: str) -> str:
    if PLAIN.fullmatch(value):
        return value
    # a backslash counts only before a quote, and before the one that ends the value
    escaped = re.sub(r"(\\*)(\"|$)", _escape_quote, value)
    return f'"{escaped}"'


def _escape_quote(found: re.Match[str]) -> str:
    backslashes, quote = found.groups()
    return backslashes * 2 + (f"\\{quote}" if quote else "")
