"""The identity of a run: the settings that define it, and the data it reads.

    settings   every setting of the resolved configuration by flat key, except IGNORED_KEYS
    inputs     for each split the hash of its tokens, and for each source the key of its weights;
               known once there are activations

A run folder has one identity, and so has a checkpoint. Runs of different identities are never
mixed; an error names the differences, the old value first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crosscoder.errors import UserError
from crosscoder.io.run_dir import Run, write_json
from crosscoder.io.schema import Number, Whole, read_json, read_yaml
from crosscoder.renamed import find_added, rename_flat, rename_settings

# Settings that do not change a run's identity: its place, its logging, how far it goes, and where
# activations are stored.
IGNORED_KEYS = ("run", "resume", "overrides", "logger", "objective", "stage", "harvest.root")
MAX_DIFFERENCES = 3  # in a message
HASH_DIGITS = 16  # of a hash in a message
# files of a run besides its configuration; a run that has not started has none
PRODUCTS = ("checkpoints", "crosscoder", "results", "metrics.json", "curves.json")


@dataclass(frozen=True)
class Identity:
    """Settings and inputs of a run as plain JSON by flat key."""

    settings: Mapping[str, bool | Whole | Number | str | None]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_config(cls, config: Any) -> "Identity":
        """Build the identity of a resolved configuration, which is a nested mapping."""
        settings = flatten(config).items()
        return cls({key: value for key, value in settings if not _is_ignored(key)})

    @classmethod
    def from_spec(cls, spec: Any) -> "Identity":
        """Build the identity that `spec` describes. Settings of older versions get new names.

        Raises:
            ValueError: The argument is not such a description.
        """
        if not isinstance(spec, Mapping):
            raise ValueError("expected a mapping with settings and inputs")
        for key in ("settings", "inputs"):
            if not isinstance(spec.get(key), Mapping):
                raise ValueError(f"expected a mapping called {key}")
        return cls(rename_flat(spec["settings"]), dict(spec["inputs"]))

    def spec(self) -> dict[str, Any]:
        """Return the identity as plain JSON."""
        return {"settings": dict(self.settings), "inputs": dict(self.inputs)}

    def with_inputs(self, inputs: Mapping[str, str]) -> "Identity":
        """Return the same settings with these inputs."""
        return Identity(self.settings, inputs)


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the keys whose values differ, as `key: before, not now`.

    Keys with the same pair of values are named once, by the outermost key. The text is empty if
    nothing differs.
    """
    missing = str(None)  # `flatten` writes a setting that is null in this way
    differing = []
    for key in dict.fromkeys([*before, *now]):
        if before.get(key, missing) != now.get(key, missing):
            differing.append(key)
    differing.sort(key=lambda key: key.count("."))

    named: dict[tuple[str, str], str] = {}
    for key in differing:
        values = str(before.get(key)), str(now.get(key))
        named.setdefault(values, key)

    lines = [f"{key}: {_shorten(old)}, not {_shorten(new)}" for (old, new), key in named.items()]
    text = "; ".join(lines[:MAX_DIFFERENCES])
    if len(lines) > MAX_DIFFERENCES:
        text += f"; and {len(lines) - MAX_DIFFERENCES} more"
    return text


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted key. A list is one leaf."""
    if not isinstance(config, Mapping):
        is_plain = isinstance(config, str | int | float)
        return {prefix: config if is_plain else str(config)}
    leaves: dict[str, Any] = {}
    for name, value in config.items():
        leaves |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return leaves


def read_identity(run: Run) -> Identity | None:
    """Read the identity of the run in a folder; return None if the folder holds no run.

    A run without identity.json is identified by its configuration. Settings of older versions get
    their new names.

    Raises:
        UserError: The file cannot be read.
    """
    has_identity = run.identity.exists()
    path = run.identity if has_identity else run.config
    if not path.exists():
        return None
    try:
        if has_identity:
            return Identity.from_spec(read_json(path, Identity).spec())
        return Identity.from_config(rename_settings(read_yaml(path, dict[str, Any])))
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{path} does not identify a run: {reason}") from error


def require_same(run: Run, identity: Identity, advice: str) -> None:
    """Refuse settings that differ from those of the run in a folder.

    Args:
        run: The run folder.
        identity: Identity of the requested run.
        advice: What the user may do instead.

    Raises:
        UserError: Settings differ; the message names them.
    """
    before = read_identity(run)
    if before is None:
        return
    settings = _drop_added(identity.settings, before.settings)
    differences = describe_differences(_drop_added(before.settings, before.settings), settings)
    if differences:
        raise UserError(f"{run.folder} holds a run of other settings ({differences}): {advice}")


def _drop_added(settings: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings that the version of the run before did not have.

    A run of version 0.1 has no columns; what it has of other added settings was elsewhere.
    """
    known: set[str] = set()
    if any(key.startswith("column.") for key in before):
        known = {find_added(key) for key in before}
    return {key: value for key, value in settings.items() if find_added(key) in {"", *known}}


def start_or_resume(run: Run, identity: Identity, config: str, advice: str) -> bool:
    """Write a run's configuration and identity to its folder.

    Returns:
        True if the folder holds this run already, so that the run is resumed.

    Raises:
        UserError: The folder holds another run.
    """
    is_resumed = read_identity(run) is not None
    require_same(run, identity, advice)
    if not is_resumed:
        _require_no_products(run, advice)
    run.write_config(config)
    if not run.identity.exists():
        write_json(run.identity, identity.spec())
    return is_resumed


def _require_no_products(run: Run, advice: str) -> None:
    """Refuse a folder with files of a run whose configuration is missing."""
    found = [name for name in PRODUCTS if run.path(name).exists()]
    if found:
        raise UserError(
            f"{run.folder} holds {', '.join(found)} of an unknown run "
            f"(no {run.config.name}): {advice}"
        )


def record_inputs(run: Run, identity: Identity) -> None:
    """Write the inputs of a run to its folder, or compare them with those that it has.

    Raises:
        UserError: The run was started on other inputs.
    """
    before = read_identity(run)
    if before is None or not before.inputs:
        write_json(run.identity, identity.spec())
        return
    differences = describe_differences(before.inputs, identity.inputs)
    if differences:
        raise UserError(
            f"{run.folder} was started on other inputs ({differences}): the text, a tokenizer or "
            "weights have changed; restore them, or start another run with run=FOLDER"
        )


def _is_ignored(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in IGNORED_KEYS)


def _shorten(value: str) -> str:
    """Return a value for a message; a hash is cut."""
    is_hash = len(value) == 64 and set(value) <= set("0123456789abcdef")
    return f"{value[:HASH_DIGITS]}…" if is_hash else value
