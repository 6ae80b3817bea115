"""The tutorial's notebook matches its document, and runs from top to bottom on the tiny pair."""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from benchmarks import tutorial
from crosscoder.evals.diff import DiffEval
from tests.unit.evals.tiny import tiny_context

ONE_THREAD = "import torch; torch.set_num_threads(1)"
PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 60_000  # of a plot
ABSOLUTE_PATH = re.compile(r"(?<![\w.])/\w+/")


@pytest.fixture
def document() -> str:
    return tutorial.DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture
def notebook():
    return nbformat.read(tutorial.NOTEBOOK, as_version=4)


def test_the_notebook_has_the_text_and_the_code_of_the_document(document, notebook):
    made = tutorial.make_notebook(document)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in made.cells]
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in made.cells]
    code = [cell.source for cell in tutorial.list_code(notebook)]
    blocks = re.findall(r"```python\n(.*?)\n```", document, re.DOTALL)
    assert code == blocks


def test_the_notebook_was_executed_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in tutorial.list_code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_the_document_has_the_text_outputs_of_the_notebook(document, notebook):
    printed = [tutorial.read_text(cell) for cell in tutorial.list_code(notebook)]
    outputs = [text for text in printed if text]
    assert len(outputs) > 5
    blocks = re.findall(r"```text\n(.*?\n)```", document, re.DOTALL)
    assert blocks == outputs
    assert tutorial.add_outputs(document, notebook) == document


def test_the_document_has_the_plots_of_the_notebook(document, notebook):
    plots = tutorial.list_plots(document, notebook)
    files = {path.name: path for path in tutorial.DOCUMENT.with_name("tutorial").iterdir()}
    assert len(plots) == 2
    assert set(files) == set(plots)
    for name, plot in plots.items():
        assert f"](tutorial/{name})" in document
        assert plot.startswith(PNG)
        assert len(plot) < MAX_BYTES
        assert files[name].read_bytes() == plot


def test_the_outputs_name_no_path_of_a_machine(notebook):
    for cell in tutorial.list_code(notebook):
        assert not ABSOLUTE_PATH.search(tutorial.read_text(cell))


def test_a_plot_without_an_image_in_the_document_is_refused(document, notebook):
    without = re.sub(r"!\[.*?\]\(tutorial/.*?\)\n", "", document)
    assert without != document
    with pytest.raises(ValueError, match="expected an image after the code of every plot"):
        tutorial.list_plots(without, notebook)


def test_outputs_are_copied_to_the_same_code_alone(document, notebook):
    reworded = tutorial.make_notebook(document.replace("# From a", "# From one", 1))
    tutorial.copy_outputs(notebook, reworded)
    assert reworded.cells[0].source.startswith("# From one")
    assert reworded.cells[1:] == notebook.cells[1:]
    changed = tutorial.make_notebook(document.replace("N = 8", "N = 9", 1))
    with pytest.raises(ValueError, match="it has changed: execute it again"):
        tutorial.copy_outputs(notebook, changed)


@pytest.fixture
def run(tiny_pair, tmp_path) -> Path:
    """Make a run folder with a crosscoder of the tiny pair and its table."""
    folder = tmp_path / "outputs" / "RUN"
    context = tiny_context(tiny_pair, tmp_path)
    context.crosscoder.save_pretrained(folder / "crosscoder")
    DiffEval(contexts=1, promoted=2)(context).save(folder / "results")
    return folder


@pytest.fixture
def kernels(tmp_path, monkeypatch) -> None:
    """Install a kernel that is this interpreter."""
    folder = tmp_path / "jupyter" / "kernels" / "here"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "here", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning"
)  # jupyter's own
@pytest.mark.usefixtures("kernels")
def test_the_notebook_runs_on_the_tiny_pair_from_its_own_folder(run, document):
    for before, after in (('PAIR = "gemma3_270m"', 'PAIR = "tiny"'), ("N = 8", "N = 3")):
        assert document.count(before) == 1
        document = document.replace(before, after)
    assert 'RUN = "outputs/RUN"' in document
    document = document.replace("import os\n", f"import os\n{ONE_THREAD}\n", 1)
    notebook = tutorial.make_notebook(document)
    tutorial.execute(notebook, run, kernel="here")

    filled = tutorial.add_outputs(document, notebook)
    assert "```text\n32 latents of [base, chat]" in filled
    assert "\nwithout nothing" in filled
    assert "\nsolo:" in filled
    assert "4096 latents" not in filled
    plots = tutorial.list_plots(document, notebook)
    assert len(plots) == 2
    assert all(plot.startswith(PNG) for plot in plots.values())
    for cell in tutorial.list_code(notebook):
        for output in cell.outputs:  # no progress, no warnings
            assert output.get("name") == "stdout" or "image/png" in output.data
    assert (run / "novices.safetensors").is_file()
