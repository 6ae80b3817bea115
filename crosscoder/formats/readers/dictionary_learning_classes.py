"""Decide which SAE class of dictionary_learning a file's weights belong to."""

from crosscoder.errors import UserError
from crosscoder.formats.readers.dictionary_learning_settings import Settings
from crosscoder.formats.settings import require_choice
from crosscoder.formats.tensors import Tensors

# class → the bias that it subtracts before encoding, "" if none
PRE_BIAS = {
    "AutoEncoder": "bias",
    "AutoEncoderNew": "",
    "GatedAutoEncoder": "decoder_bias",
    "AutoEncoderTopK": "b_dec",
    "BatchTopKSAE": "b_dec",
    "MatryoshkaBatchTopKSAE": "b_dec",
    "JumpReluAutoEncoder": "",
}
# classes whose weights are called W_enc and W_dec
MATRIX_CLASSES = ("MatryoshkaBatchTopKSAE", "JumpReluAutoEncoder")
# spelling of the package until January 2025
MISSPELLED = {"MatroyshkaBatchTopKSAE": "MatryoshkaBatchTopKSAE"}
# tensors that only one class has
CLASS_BY_TENSOR = {
    "bias": "AutoEncoder",
    "decoder.bias": "AutoEncoderNew",
    "decoder_bias": "GatedAutoEncoder",
}
CLASS_BY_TRAINER = {
    "TrainerTopK": "AutoEncoderTopK",
    "TopKTrainer": "AutoEncoderTopK",
    "BatchTopKTrainer": "BatchTopKSAE",
    "TrainerBatchTopK": "BatchTopKSAE",
}


def find_class(settings: Settings, file: Tensors, is_saprmarks: bool) -> str:
    """Return the class that the settings name, or else the one that the tensors imply.

    Args:
        settings: Settings of the folder.
        file: Weights.
        is_saprmarks: True for files of saprmarks' package, whose AutoEncoderTopK also stores a
            threshold but does not use it.

    Raises:
        UserError: The class is not supported, or two classes fit tensors and settings.
    """
    name = settings.dict_class
    if name is not None:
        if isinstance(name, str):
            name = MISSPELLED.get(name, name)
        return require_choice(name, tuple(PRE_BIAS), f"{settings.where}: dict_class")
    for tensor, kind in CLASS_BY_TENSOR.items():
        if tensor in file:
            return kind
    if "W_enc" in file:
        is_per_latent = file.left["threshold"].ndim > 0
        return "JumpReluAutoEncoder" if is_per_latent else "MatryoshkaBatchTopKSAE"
    if "threshold" not in file:
        return "AutoEncoderTopK"
    if not is_saprmarks:
        return "BatchTopKSAE"
    trainer = settings.trainer.get("trainer_class")
    if isinstance(trainer, str) and trainer in CLASS_BY_TRAINER:
        return CLASS_BY_TRAINER[trainer]
    raise UserError(
        f"{settings.where}: the tensors fit both an AutoEncoderTopK and a BatchTopKSAE; "
        "name the class in config.json, as trainer.dict_class"
    )
