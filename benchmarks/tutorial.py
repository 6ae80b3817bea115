"""Run the code of docs/tutorial.md on a trained run, and write its outputs, plots and notebook.

python -m benchmarks.tutorial RUN
python -m benchmarks.tutorial        only the text of the document has changed

The text and the code of the document are the source. A text output follows its code as a block of
text. A plot follows it as an image, whose line in the document names the file.
"""

import base64
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from crosscoder.io.files import atomic_write, replace_text

DOCUMENT = Path(__file__).parents[1] / "docs" / "tutorial.md"
NOTEBOOK = DOCUMENT.with_suffix(".ipynb")
CELL = re.compile(
    r"(?P<code>```python\n.*?```\n)"
    r"(?P<text>\n```text\n.*?```\n)?"
    r"(?P<image>\n!\[[^\]\n]*\]\((?P<file>tutorial/[^)\n]*)\)\n)?",
    re.DOTALL,
)
MARK = re.compile(r"^<!-- .* -->\n", re.MULTILINE)  # for the test of the document
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main() -> None:
    """Run, and write the notebook, the plots and the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    notebook = make_notebook(document)
    if len(sys.argv) > 1:
        execute(notebook, Path(sys.argv[1]))
    else:
        copy_outputs(nbformat.read(NOTEBOOK, as_version=4), notebook)
    filled = add_outputs(document, notebook)
    for name, plot in list_plots(document, notebook).items():
        with atomic_write(DOCUMENT.with_name("tutorial") / name) as temporary:
            temporary.write_bytes(plot)
    replace_text(NOTEBOOK, nbformat.writes(notebook) + "\n")
    replace_text(DOCUMENT, filled)


def make_notebook(document: str) -> NotebookNode:
    """Convert the document to a notebook without outputs."""
    text = CELL.sub(lambda cell: cell["code"], document)
    text = MARK.sub("", text).replace("```bash\n", "```\n")  # jupytext would make a cell that runs
    notebook = jupytext.reads(text, fmt="md")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else drawn at random
    notebook.metadata = {"kernelspec": KERNEL}
    return notebook


def execute(notebook: NotebookNode, run: Path, kernel: str = "python3") -> None:
    """Execute the notebook in a folder docs/ next to outputs/RUN, which is a link to the run."""
    with TemporaryDirectory() as root:
        docs = Path(root, "docs")
        docs.mkdir()
        link = Path(root, "outputs", "RUN")
        link.parent.mkdir()
        link.symlink_to(run.resolve(strict=True))
        resources = {"metadata": {"path": str(docs)}}
        client = NotebookClient(
            notebook, kernel_name=kernel, resources=resources, timeout=None, record_timing=False
        )
        client.execute()
    notebook.metadata = {"kernelspec": KERNEL}
    for cell in list_code(notebook):
        cell.outputs = _keep_outputs(cell)


def copy_outputs(executed: NotebookNode, notebook: NotebookNode) -> None:
    """Copy the outputs of a notebook to one with the same code.

    Raises:
        ValueError: The code has changed, so the outputs would not be its own.
    """
    old = list_code(executed)
    new = list_code(notebook)
    if [cell.source for cell in old] != [cell.source for cell in new]:
        raise ValueError(
            "expected the code that was executed, but it has changed: execute it again, "
            "python -m benchmarks.tutorial RUN"
        )
    for before, after in zip(old, new, strict=True):
        after.outputs = before.outputs
        after.execution_count = before.execution_count


def list_code(notebook: NotebookNode) -> list[NotebookNode]:
    """List the cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_text(cell: NotebookNode) -> str:
    """Return what a cell has printed."""
    streams = [output for output in cell.outputs if output.output_type == "stream"]
    return "".join(output.text for output in streams if output.name == "stdout")


def read_plot(cell: NotebookNode) -> bytes | None:
    """Return the plot of a cell as PNG.

    Raises:
        ValueError: The cell shows several plots.
    """
    plots = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    if len(plots) > 1:
        raise ValueError(f"expected one plot per cell, found {len(plots)}: split {cell.id}")
    return base64.b64decode(plots[0].data["image/png"]) if plots else None


def list_plots(document: str, notebook: NotebookNode) -> dict[str, bytes]:
    """Return the plots of the notebook by the names of the files that the document gives them.

    Raises:
        ValueError: A plot has no image in the document, or an image has no plot.
    """
    plots = {}
    for block, cell in zip(CELL.finditer(document), list_code(notebook), strict=True):
        plot = read_plot(cell)
        if (plot is None) != (block["file"] is None):
            raise ValueError(
                f"expected an image after the code of every plot, and only there: see {cell.id}"
            )
        if plot is not None:
            plots[Path(block["file"]).name] = plot
    return plots


def add_outputs(document: str, notebook: NotebookNode) -> str:
    """Return the document with the text outputs of the notebook."""
    cells = iter(list_code(notebook))

    def fill(block: re.Match) -> str:
        printed = read_text(next(cells)).strip("\n")
        text = f"\n```text\n{printed}\n```\n" if printed else ""
        return block["code"] + text + (block["image"] or "")

    return CELL.sub(fill, document)


def _keep_outputs(cell: NotebookNode) -> list[NotebookNode]:
    """Keep what a cell has printed and plotted, without progress bars and warnings."""
    kept = [output for output in cell.outputs if "image/png" in output.get("data", {})]
    text = read_text(cell)
    if text:
        kept.insert(0, nbformat.v4.new_output("stream", name="stdout", text=text))
    return kept


if __name__ == "__main__":
    main()
