"""The progress line of training."""

import threading

import pytest
from lightning.pytorch.callbacks import Callback


class Fail(Callback):
    """Callback that fails in the first step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        raise ZeroDivisionError


def list_printers() -> list[threading.Thread]:
    """List the threads that print progress."""
    return [thread for thread in threading.enumerate() if "print_regularly" in thread.name]


def test_a_failed_training_stops_its_progress_line(module_of, trained):
    with pytest.raises(ZeroDivisionError):
        trained(module_of(n_steps=3), Fail())
    assert list_printers() == []


def test_training_ends_with_a_line_about_all_of_its_steps(module_of, trained, capsys):
    trained(module_of(n_steps=3))
    assert capsys.readouterr().out.startswith("train: 3 of 3 steps, ")
    assert list_printers() == []
