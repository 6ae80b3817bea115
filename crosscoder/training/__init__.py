"""Training with Lightning: the module, its data, what it tracks and saves. The only code that touches `lightning`."""

from crosscoder.training.datamodule import ActsModule
from crosscoder.training.fit import fit
from crosscoder.training.module import CrosscoderModule
from crosscoder.training.recipe import Recipe, settings_of

__all__ = ["ActsModule", "CrosscoderModule", "Recipe", "fit", "settings_of"]
