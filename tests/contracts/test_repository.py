"""Files around the package are valid: workflows, templates, hooks, citation, changelog."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import crosscoder

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(
    path
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")
    if path.stem != "config"  # it is no form
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_yaml(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def list_steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    steps = []
    for job in workflow["jobs"].values():
        steps += job["steps"]
    return steps


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_limits_and_runs_what_exists(path):
    workflow = read_yaml(path)
    assert {"name", "permissions", "jobs"} <= set(workflow)
    assert True in workflow  # YAML reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    assert all(0 < job["timeout-minutes"] <= 350 for job in workflow["jobs"].values())
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    extras = set(PYPROJECT["project"]["optional-dependencies"])
    for step in list_steps(workflow):
        assert ("uses" in step) != ("run" in step)
        run = step.get("run", "")
        assert set(re.findall(r"\bmake (\w+)", run)) <= targets
        for named in re.findall(r"\.\[([\w,]+)\]", run):
            assert set(named.split(",")) <= extras


def test_continuous_integration_covers_the_oldest_and_the_newest_python():
    tested = read_yaml(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]
    classifiers = " ".join(PYPROJECT["project"]["classifiers"])
    supported = re.findall(r"Python :: (3\.\d+)", classifiers)
    assert tested["strategy"]["matrix"]["python"] == [supported[0], supported[-1]]


def test_only_the_step_that_publishes_gets_an_identity():
    jobs = read_yaml(ROOT / ".github" / "workflows" / "release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert "permissions" not in jobs["build"]
    assert "password" not in str(jobs)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_is_required(path):
    form = read_yaml(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert any(field.get("validations", {}).get("required") for field in form["body"])
    for field in form["body"]:
        assert field["type"] in ("input", "textarea", "dropdown", "checkboxes")
        assert field["attributes"]["label"]


def test_there_are_three_issue_forms():
    assert [path.stem for path in FORMS] == ["bug", "feature", "question"]


def test_hooks_use_the_installed_tools():
    (repository,) = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    assert [entry.split(" --")[0] for entry in entries] == [
        "ruff format",
        "ruff check",
        "lint-imports",
    ]
    assert all(hook["language"] == "system" for hook in repository["hooks"])


def test_citation_and_changelog_are_of_this_version():
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["version"] == crosscoder.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.*?)\](?: - (\S+))?$", changelog, re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1] == (crosscoder.__version__, str(citation["date-released"]))


def test_a_section_of_the_changelog_has_one_of_six_names():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^### (.*)$", changelog, re.M))
    assert names <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_names_every_renamed_setting():
    from crosscoder.renamed import COLUMNS, KEYS

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for old, new in (KEYS | COLUMNS).items():
        for name in (old, new):
            assert name.rpartition(".")[2] in changelog
