"""Tiny valid folders of every layout with random weights: tensors or settings by file name."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write

d, F, M = 4, 6, 2
Files = dict[str, dict[str, Any]]
# factors that the files of a layout do not hold
INPUT_SCALE = {"kissane": 0.5, "crosscode": {"base": 0.5, "chat": 0.25}}
# required folder names of layouts whose settings are in the name
NAMED = {"qwen_scope": "SAE-Res-Qwen3-1.7B-Base-W1K-L0_2"}


def build_files(layout: str) -> Files:
    """Build the files of a layout, with the function of its name."""
    assert layout in globals(), (
        f"write a function `{layout}` here: every layout needs a folder for the tests"
    )
    return globals()[layout]()


def find_folder(folder: Path, layout: str) -> Path:
    """Return the folder of a layout's files: this one, or one in it with a required name."""
    return folder / NAMED.get(layout, "")


def find_tensor_file(files: Files) -> str:
    """Return the first file with tensors."""
    return next(
        name for name in files if Path(name).suffix in (".safetensors", ".npz", ".pt", ".pth")
    )


def write_folder(layout: str, folder: Path) -> Path:
    """Write a valid folder of a layout."""
    return write(find_folder(folder, layout), build_files(layout))


def assert_refused(folder: Path, *words: str, **options: Any) -> None:
    """Check that a folder is refused in one line that names it and contains these words."""
    with pytest.raises(UserError) as error:
        crosscoder.load(folder, **options)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert all(word in message for word in (str(folder), *words)), message


def draw(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    """Draw normal numbers by name (`__` stands for a dot); thresholds are positive."""
    torch.manual_seed(0)
    drawn = {name.replace("__", "."): torch.randn(shape) for name, shape in shapes.items()}
    return {name: x.abs() / 4 if re.match("threshold", name) else x for name, x in drawn.items()}


def gemma_scope() -> Files:
    return {"params.npz": draw(W_enc=(d, F), b_enc=(F,), W_dec=(F, d), b_dec=(d,), threshold=(F,))}


def gemma_scope_2() -> Files:
    config = {
        "hf_hook_point_in": "model.layers.5.output",
        "hf_hook_point_out": "model.layers.5.output",
        "width": F,
    }
    config |= {
        "model_name": "a/b",
        "architecture": "jump_relu",
        "l0": 60,
        "affine_connection": False,
        "type": "sae",
    }
    weights = draw(w_enc=(d, F), b_enc=(F,), w_dec=(F, d), b_dec=(d,), threshold=(F,))
    return {"params.safetensors": weights, "config.json": config}


def gemma_scope_2_layers() -> Files:
    config = gemma_scope_2()["config.json"] | {
        "hf_hook_point_in": "model.layers.{5,9}.output",
        "type": "crosscoder",
    }
    layer = draw(w_enc=(d, F), b_enc=(F,), threshold=(F,), w_dec=(F, 2, d), b_dec=(d,))
    later = layer | {"w_dec": layer["w_dec"] * torch.tensor([[0.0], [1.0]])}
    return {
        "params_layer_0.safetensors": layer,
        "params_layer_1.safetensors": later,
        "config.json": config | {"width": 2 * F},
    }


def saelens() -> Files:
    config = {
        "architecture": "jumprelu",
        "d_in": d,
        "d_sae": F,
        "dtype": "float32",
        "apply_b_dec_to_input": True,
    }
    config |= {
        "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.0.0", "hook_name": "blocks.5.hook_resid_pre"},
    }
    weights = draw(W_enc=(d, F), b_enc=(F,), W_dec=(F, d), b_dec=(d,), threshold=(F,))
    return {"cfg.json": config, "sae_weights.safetensors": weights}


def sparsify() -> Files:
    config = {
        "d_in": d,
        "num_latents": F,
        "expansion_factor": 32,
        "k": 2,
        "activation": "topk",
        "transcode": False,
    }
    weights = draw(encoder__weight=(F, d), encoder__bias=(F,), W_dec=(F, d), b_dec=(d,))
    return {"cfg.json": config, "sae.safetensors": weights}


def dictionary_learning() -> Files:
    weights = draw(
        encoder__weight=(M, d, F),
        encoder__bias=(F,),
        decoder__weight=(M, F, d),
        decoder__bias=(M, d),
    )
    weights |= {
        "activation_mean": torch.zeros(M, d),
        "activation_std": torch.ones(M, d),
        "threshold": torch.tensor(0.5),
    }
    weights |= {
        "activation_global_scale": torch.tensor([0.5, 2.0]),
        "code_normalization_id": torch.tensor(1),
        "k": torch.tensor(2),
    }
    trainer = {"dict_class": "BatchTopKCrossCoder", "layer": 13, "lm_name": "a/b-it-a/b", "k": 2}
    sizes = {
        "activation_dim": d,
        "dict_size": F,
        "num_layers": M,
        "code_normalization": "CROSSCODER",
    }
    return {
        "model.safetensors": weights,
        "config.json": sizes,
        "trainer_config.json": {"trainer": trainer},
    }


def dictionary_learning_sae() -> Files:
    trainer = {
        "dict_class": "AutoEncoderTopK",
        "activation_dim": d,
        "dict_size": F,
        "layer": 13,
        "lm_name": "a/b",
    }
    weights = draw(
        encoder__weight=(F, d), encoder__bias=(F,), decoder__weight=(d, F), b_dec=(d,), threshold=()
    )
    return {"config.json": {"trainer": trainer}, "ae.pt": weights | {"k": torch.tensor(2)}}


def kissane() -> Files:
    config = {
        "d_in": d,
        "dict_size": F,
        "model_name": "gemma-2-2b",
        "hook_point": "blocks.14.hook_resid_pre",
    }
    return {
        "cfg.json": config,
        "cc_weights.pt": draw(W_enc=(M, d, F), W_dec=(F, M, d), b_enc=(F,), b_dec=(M, d)),
    }


def crosscode() -> Files:
    activation = {
        "classname": "AnthropicSTEJumpReLUActivation",
        "cfg": {"size": F, "bandwidth": 0.1},
    }
    config = {
        "n_models": M,
        "n_hookpoints": 1,
        "d_model": d,
        "n_latents": F,
        "use_encoder_bias": True,
        "use_decoder_bias": True,
    }
    weights = draw(
        _W_enc_XiDiL=(M, 1, d, F), _W_dec_LXoDo=(F, M, 1, d), b_enc_L=(F,), _b_dec_XoDo=(M, 1, d)
    )
    weights |= {
        "is_folded": torch.tensor(False),
        "_activation_fn.log_threshold_L": torch.full((F,), -2.0),
    }
    return {"model_cfg.yaml": config | {"activation_fn": activation}, "model.pt": weights}


def openmoss() -> Files:
    hooks = ["blocks.5.hook_resid_post", "blocks.6.hook_resid_post"]
    config = {
        "sae_type": "crosscoder",
        "d_model": d,
        "expansion_factor": F / d,
        "act_fn": "jumprelu",
        "hook_points": hooks,
    }
    config |= {"norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True}
    weights = draw(W_E=(2, d, F), b_E=(2, F), W_D=(2, F, d), b_D=(2, d))
    weights |= {f"dataset_average_activation_norm.{hook}": torch.tensor(3.0) for hook in hooks}
    weights["activation_function.log_jumprelu_threshold"] = torch.full((F,), -2.0)
    return {"config.json": config, "sae_weights.safetensors": weights}


def openmoss_sae() -> Files:
    hook = "blocks.5.hook_resid_post"
    config = {"sae_type": "sae", "d_model": d, "expansion_factor": F / d, "act_fn": "jumprelu"}
    config |= {"hook_point_in": hook, "hook_point_out": hook, "norm_activation": "dataset-wise"}
    weights = draw(W_E=(d, F), b_E=(F,), W_D=(F, d), b_D=(d,))
    weights[f"dataset_average_activation_norm.{hook}"] = torch.tensor(3.0)
    weights["activation_function.log_jumprelu_threshold"] = torch.full((F,), -2.0)
    return {"config.json": config, "sae_weights.safetensors": weights}


def llama_scope() -> Files:
    hook = "blocks.5.hook_resid_post"
    config = {"d_model": d, "d_sae": F, "act_fn": "topk", "top_k": 2, "jump_relu_threshold": 0.5}
    config |= {"hook_point_in": hook, "hook_point_out": hook, "norm_activation": "dataset-wise"}
    config |= {
        "dataset_average_activation_norm": {"in": 3.0, "out": 3.0},
        "apply_decoder_bias_to_pre_encoder": False,
    }
    weights = draw(
        encoder__weight=(F, d), encoder__bias=(F,), decoder__weight=(d, F), decoder__bias=(d,)
    )
    return {"hyperparams.json": config, "checkpoints/final.safetensors": weights}


def qwen_scope() -> Files:
    wide = 1024
    return {"layer5.sae.pt": draw(W_enc=(wide, d), b_enc=(wide,), W_dec=(d, wide), b_dec=(d,))}


def linear() -> Files:
    shapes = {"weight": (F, d), "bias": (F,)}
    weights = draw(**{f"encoder_linear__{name}": shape for name, shape in shapes.items()})
    weights |= draw(decoder_linear__weight=(d, F), decoder_linear__bias=(d,))
    return {"Llama-3.1-8B-Instruct-SAE-l19.pth": weights}


def kissane_sae() -> Files:
    config = {
        "act_size": d,
        "dict_size": F,
        "act_name": "blocks.5.attn.hook_z",
        "model_name": "gpt2-small",
    }
    return {
        "L5_z_v9_cfg.json": config,
        "L5_z_v9.pt": draw(W_enc=(d, F), W_dec=(F, d), b_enc=(F,), b_dec=(d,)),
    }
