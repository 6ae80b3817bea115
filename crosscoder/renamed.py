"""Names that changed since version 0.1.

Old names are read for one version, this one: a warning gives the new name.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

log = logging.getLogger(__name__)

REMOVED_IN = "0.3"  # version that will refuse the old names

# settings: full key of conf/train.yaml or conf/evaluate.yaml -> its new key
KEYS = {
    "models.contrast": "models.diff_pair",
    "given": "overrides",
    "share": "parallel",
    "recipe.share": "recipe.parallel",
    "init.own": "init.exclusive_fraction",
    "init.reads": "init.exclusive_encoder",
    "recipe.init.own": "recipe.init.exclusive_fraction",
    "recipe.init.reads": "recipe.init.exclusive_encoder",
}
# evals that had an analysis of their own; one at the top now serves all of them
for _eval in (
    "ablation",
    "compare",
    "density",
    "diff",
    "layers",
    "nulls",
    "patching",
    "stability",
    "steering",
):
    KEYS[f"eval.{_eval}.analysis"] = "analysis"
# limits of evals that had the questions of a behaviour in their settings
for _eval in ("ablation", "steering"):
    KEYS[f"eval.{_eval}.choose.n_pairs"] = f"eval.{_eval}.n_pairs"
    for _limit in ("n_questions", "n_plain", "max_new_tokens"):
        KEYS[f"eval.{_eval}.asking.{_limit}"] = f"eval.{_eval}.{_limit}"
KEYS["eval.behaviour.judge"] = "behaviour.judge"
# after the evals, since it may be in what they had
KEYS["analysis.rule.elsewhere"] = "rule.max_cross_cosine"
KEYS["analysis.rule"] = "rule"

# settings that are no longer used: full keys
REMOVED: tuple[str, ...] = ("eval.steering.also", "eval.steering.n_plain")

# settings that older versions did not have: their runs are not compared by them
ADDED = ("analysis", "rule", "column", "behaviour", "harvest.storage")

# classes that conf/ names: old prefix -> new prefix
TARGETS = {
    "crosscoder.activations.": "crosscoder.core.activations.",
    "crosscoder.init.": "crosscoder.core.init.",
    "crosscoder.behaviour.": "crosscoder.behaviours.",
    "crosscoder.data.text.": "crosscoder.data.corpora.text.",
    "crosscoder.data.planted.": "crosscoder.data.synthetic.planted.",
    "crosscoder.diff.analysis.": "crosscoder.analysis.analysis.",
    "crosscoder.diff.verdict.Rule": "crosscoder.analysis.rule.VerdictRule",
    "crosscoder.diff.prompts.": "crosscoder.analysis.columns.prompts.",
    "crosscoder.evals.controls.": "crosscoder.evals.support.controls.",
    "crosscoder.evals.reference.": "crosscoder.evals.support.reference.",
    "crosscoder.evals.relations.": "crosscoder.evals.support.relations.",
    "crosscoder.evals.trial.": "crosscoder.evals.support.benchmark.",
}

# columns of latents.parquet: old name -> new name
COLUMNS = {
    "elsewhere": "max_cross_cosine",
}

TARGET = re.compile(r"\bcrosscoder\.[\w.]+")


def rename_override(override: str) -> str:
    """Return a setting of the command line (`key=value`) with the new names."""
    key, equals, value = override.partition("=")
    name = key.lstrip("+~")
    new_name = rename_key(name)
    if new_name != name:
        _warn("setting", name, new_name)
        key = key[: len(key) - len(name)] + new_name
    if not equals:
        return key
    return f"{key}={_rename_targets_in(value)}"


def rename_key(key: str) -> str:
    """Return the new name of a setting; the settings below a renamed one move with it."""
    for old in sorted(KEYS, key=len, reverse=True):  # the most specific name first
        if key == old or key.startswith(f"{old}."):
            return rename_key(KEYS[old] + key.removeprefix(old))
    return key


def find_added(key: str) -> str:
    """Return the name in ADDED that a setting is or is part of; "" if older versions had it."""
    for name in ADDED:
        if key == name or key.startswith(f"{name}."):
            return name
    return ""


def rename_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings of a run's config.yaml with the new keys and class names."""
    renamed = _rename_targets(config)
    for old, new in KEYS.items():
        _move(renamed, old.split("."), new.split("."))
    for key in REMOVED:
        _remove(renamed, key.split("."))
    return renamed


def rename_flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings, as `identity.json` holds them, with the new keys and class names."""
    renamed = {}
    for key, value in settings.items():
        if rename_key(key) in REMOVED:
            continue
        names_class = key.rpartition(".")[2] == "_target_" or "'_target_'" in str(value)
        new_value = value
        if names_class and isinstance(value, str):  # a list is one text with all its classes
            new_value = _rename_targets_in(value)
        renamed.setdefault(rename_key(key), new_value)
    return renamed


def rename_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of a table's file with the new names.

    A column whose new name the file has, too, keeps its name.
    """
    renamed = []
    for name in names:
        new = COLUMNS.get(name, name)
        is_renamed = new != name and new not in names
        if is_renamed:
            _warn("column", name, new)
        renamed.append(new if is_renamed else name)
    return renamed


def rename_target(name: str) -> str:
    """Return the new dotted name of a class."""
    for old, new in TARGETS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _rename_targets_in(text: str) -> str:
    """Return a text with the new names of the classes that it names."""
    return TARGET.sub(lambda found: rename_target(found[0]), text)


def _rename_targets(content: Any) -> Any:
    if isinstance(content, Mapping):
        renamed = {key: _rename_targets(value) for key, value in content.items()}
        if isinstance(renamed.get("_target_"), str):
            renamed["_target_"] = rename_target(renamed["_target_"])
        return renamed
    if isinstance(content, list | tuple):
        return [_rename_targets(value) for value in content]
    return content


def _move(config: dict[str, Any], old: list[str], new: list[str]) -> None:
    """Move an entry of nested mappings to its new key, unless the new key has a value."""
    source = _find_parent(config, old)
    if source is None:
        return
    _warn("setting", ".".join(old), ".".join(new))
    target = config
    for name in new[:-1]:
        target = target.setdefault(name, {})
    target.setdefault(new[-1], source.pop(old[-1]))


def _remove(config: dict[str, Any], key: Sequence[str]) -> None:
    """Remove an entry of nested mappings, if there is one."""
    parent = _find_parent(config, key)
    if parent is not None:
        del parent[key[-1]]
        log.warning("the setting %s is no longer used", ".".join(key))


def _find_parent(config: dict[str, Any], key: Sequence[str]) -> dict[str, Any] | None:
    """Return the mapping that has the last name of a key; None if there is no such entry."""
    parent: Any = config
    for name in key[:-1]:
        parent = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(parent, dict) or key[-1] not in parent:
        return None
    return parent


def _warn(kind: str, old: str, new: str) -> None:
    log.warning(
        "the %s %s is now called %s; the old name will not work in version %s",
        kind,
        old,
        new,
        REMOVED_IN,
    )
