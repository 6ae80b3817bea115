"""Run evals one after the other, each independently of the others.

The runner times an eval, stamps its result with what was evaluated, saves it at once, and reports
a failure in one line. The traceback of an unexpected error is written to a file beside the results,
which that line names.
"""

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from crosscoder.errors import NotApplicable, describe_error, first_line, print_error
from crosscoder.evals.base import Eval, Result
from crosscoder.evals.context import EvalContext
from crosscoder.evals.support.measured import join_measured_columns, needs_join
from crosscoder.io.files import write_text
from crosscoder.runtime.memory import retain_freed_memory
from crosscoder.terminal.console import TextConsole
from crosscoder.terminal.words import print_words

console = TextConsole()


@dataclass
class EvalOutcome:
    """Results of evals, and the names of those that failed."""

    results: list[Result] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def exit_if_failed(self) -> None:
        """End the program with exit code 1 if an eval failed; the error has been reported."""
        if self.failed:
            raise SystemExit(1)


@dataclass(frozen=True)
class Runner:
    """Run evals and save their results.

    Args:
        folder: Folder of the results.
        is_asked: True if the user chose the evals by name. One that is not applicable is then an
            error; otherwise it is left out.
        show: Called with every result and its file.
    """

    folder: Path
    is_asked: bool = False
    show: Callable[[Result, Path], None] = lambda result, path: None

    def run(self, evals: Mapping[str, Eval], context: EvalContext) -> EvalOutcome:
        """Run the evals in their order."""
        outcome = EvalOutcome()
        for name, evaluate in evals.items():
            try:
                result = self._evaluate(evaluate, context)
                path = result.save(self.folder)
                if needs_join(result):
                    join_measured_columns(self.folder)
            except NotApplicable as reason:
                if self.is_asked:
                    print_error(f"{name}: {reason}")
                    outcome.failed.append(name)
                else:
                    _say_left_out(name, str(reason))
            except Exception as error:
                self._report_error(name, error)
                outcome.failed.append(name)
            else:
                # an error would keep alive what its frames hold in memory
                outcome.results.append(replace(result, errors={}))
                self.show(result, path)
                self._report_left_out(result)
                if result.errors:
                    outcome.failed.append(name)
                else:
                    error_file(self.folder, name).unlink(missing_ok=True)
            if context.pair is not None and name in outcome.failed:
                context.pair.release()  # the models that a failed eval had loaded
        return outcome

    def _evaluate(self, evaluate: Eval, context: EvalContext) -> Result:
        """Run one eval, and stamp its result with the time it took and what it is about.

        A value that the eval itself gives is kept, e.g. the seed of the analysis that made a table.
        """
        start = time.perf_counter()
        with retain_freed_memory():
            result = evaluate(context)
        stamps = {
            "store": str(context.heldout.folder),
            "seconds": time.perf_counter() - start,
            "seed": context.seed,
        }
        meta = dict(result.meta)
        for key, value in stamps.items():
            meta.setdefault(key, value)
        meta["crosscoder_sha256"] = context.crosscoder_sha256
        return replace(result, meta=meta)

    def _report_left_out(self, result: Result) -> None:
        """Say what a result lacks: steps that were not applicable, and steps that failed."""
        for step, reason in result.meta.get("left_out", {}).items():
            if step not in result.errors:
                _say_left_out(f"{result.name}, {step}", reason)
        for step, error in result.errors.items():
            self._report_error(result.name, error, step)

    def _report_error(self, name: str, error: Exception, step: str = "") -> None:
        where = f"{name}, {step}" if step else name
        message = describe_error(error)
        if message is not None:
            print_error(f"{where}: {message}")
            return
        text = "".join(traceback.format_exception(error))
        message = f"{where}: {type(error).__name__}: {first_line(error)}"
        path = error_file(self.folder, name)
        try:
            write_text(path, text)
        except OSError:
            print_error(message)
            sys.stderr.write(text)
        else:
            print_error(f"{message}; the traceback is in {path}")


def error_file(folder: Path, name: str) -> Path:
    """Return the path of the traceback of an eval that failed."""
    return folder / f"{name}.error.txt"


def _say_left_out(name: str, reason: str) -> None:
    print_words(console, f"{name} is left out: {reason}")
    console.print()
