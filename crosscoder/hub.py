"""Files of a repository on the hub: only those asked for by name, and one sentence where they cannot be had."""

from collections.abc import Sequence
from pathlib import Path

from crosscoder.errors import UserError


def snapshot(repo: str, patterns: Sequence[str], revision: str | None = None) -> Path:
    """The local folder that mirrors a repository, with the files whose paths match (from the cache where they are there).

    Raises:
        UserError: no such repository or revision, no access, or the hub is out of reach.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise UserError(f"'{repo}' is gated: accept its terms on the hub and log in (hf auth login)") from error
    except RevisionNotFoundError as error:
        raise UserError(f"'{repo}' has no revision '{revision}'") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"'{repo}' is neither a local folder nor on the hub") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"cannot get '{repo}': not a local folder, not in the hub cache, and the hub is out of reach"
        ) from error
