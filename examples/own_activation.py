"""Train, save and load a crosscoder with an activation of your own.

This one keeps the pre-activations above a fixed threshold, so it needs a sparsity penalty. The data
are a planted world, so no language model is needed. It takes half a minute on two CPU cores.
"""

from crosscoder import Crosscoder
from crosscoder.core.activations import Activation, Requirements
from crosscoder.core.sparse import index_or_mask
from crosscoder.data.synthetic.planted import Planted
from crosscoder.losses.l1 import L1
from crosscoder.losses.reconstruction import Reconstruction
from crosscoder.training import Recipe


class AboveThreshold(Activation):
    requirements = Requirements(needs_penalty=True)

    def __init__(self, threshold: float = 0.1):
        super().__init__()
        self.threshold = threshold

    def select(self, pre, scale):
        return index_or_mask(pre > self.threshold)

    def arguments(self):  # saved in config.json
        return {"threshold": self.threshold}


if __name__ == "__main__":
    splits = Planted().write("outputs/stores", n_tokens=20_000, n_validation=2_000, n_heldout=4_000)
    losses = {"reconstruction": Reconstruction("squared"), "l1": L1()}
    recipe = Recipe(128, train_tokens=200_000, activation=AboveThreshold(), losses=losses)
    folder = "outputs/own_activation"
    trained, figures = recipe.train(splits.train, splits.validation, splits.sources, folder)
    trained.save_pretrained(folder)
    # config.json names no module, so that a downloaded file cannot run code: you name it here
    print(Crosscoder.from_pretrained(folder, activation_module="own_activation"))
