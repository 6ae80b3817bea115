"""What the wheel and an editable install hold, without installing either."""

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import crosscoder

ROOT = Path(__file__).parents[2]


def build(folder: Path, version: str) -> zipfile.ZipFile:
    """Build the wheel ("standard"), or the one of an editable install ("editable")."""
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=[version])
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with build(tmp_path_factory.mktemp("wheel"), "standard") as opened:
        yield opened


def list_files(folder: str) -> set[str]:
    """List the files of a folder of the repository, without those that Python compiled."""
    found = set()
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            found.add(path.relative_to(ROOT).as_posix())
    return found


def test_it_holds_every_file_of_the_package_and_of_conf(wheel):
    expected = list_files("crosscoder") | {f"crosscoder/{name}" for name in list_files("conf")}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_its_files_are_those_of_the_clone(wheel):
    assert wheel.read("crosscoder/conf/train.yaml") == (ROOT / "conf/train.yaml").read_bytes()
    assert wheel.read("crosscoder/py.typed") == b""


def test_it_holds_the_licence_the_version_and_the_console_scripts(wheel):
    information = f"crosscoder-{crosscoder.__version__}.dist-info"
    for name in ("LICENSE", "NOTICE"):
        assert wheel.read(f"{information}/licenses/{name}") == (ROOT / name).read_bytes()
    metadata = wheel.read(f"{information}/METADATA").decode()
    assert f"\nVersion: {crosscoder.__version__}\n" in metadata
    scripts = wheel.read(f"{information}/entry_points.txt").decode()
    for name in ("train", "evaluate", "report", "formats"):
        assert f"crosscoder-{name} = crosscoder.cli.start:{name}\n" in scripts


def test_an_editable_install_adds_the_clone_to_pythons_path(tmp_path):
    with build(tmp_path, "editable") as editable:
        names = [name for name in editable.namelist() if ".dist-info/" not in name]
        assert names == ["_crosscoder.pth"]  # and no hook, which comes after a namespace package
        assert editable.read(names[0]).decode().strip() == str(ROOT)
