"""Callbacks of training: a progress line, throughput, curves and checkpoints.

Lightning's own callbacks cannot do this bit for bit. ModelCheckpoint writes through memory or the
system's temporary folder, keeps no state of random number generators, and also saves weights that
are not finite. CSVLogger and ThroughputMonitor lose their state when a run is resumed.
"""

from crosscoder.training.callbacks.checkpoint import LastCheckpoint
from crosscoder.training.callbacks.curves import Curves
from crosscoder.training.callbacks.progress import TrainingProgress
from crosscoder.training.callbacks.throughput import Throughput

__all__ = ["Curves", "LastCheckpoint", "Throughput", "TrainingProgress"]
