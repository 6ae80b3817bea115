"""Training with Lightning: the module, its data, what it tracks and saves. The only code that touches `lightning`."""

from crosscoder.training.datamodule import ActsModule
from crosscoder.training.fit import fit
from crosscoder.training.module import CrosscoderModule

__all__ = ["ActsModule", "CrosscoderModule", "fit"]
