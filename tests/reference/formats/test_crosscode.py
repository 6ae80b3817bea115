"""crosscode, models m and hookpoints p.

pre = Σ_mp x_mp W_enc[m, p] + b_enc, x̂_mp = f W_dec[:, m, p] + b_dec[m, p].
"""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.helpers.foreign import write
from tests.reference.formats.files import (
    Draw,
    F,
    assert_agrees,
    assert_provenance,
    d,
    select_largest,
    step_above,
    to_double,
)

K = 5
ACTIVATIONS = {
    "relu": {"classname": "ReLUActivation", "cfg": {}},
    "topk": {"classname": "TopkActivation", "cfg": {"k": K}},
    "jumprelu": {
        "classname": "AnthropicSTEJumpReLUActivation",
        "cfg": {"size": F, "bandwidth": 2.0},
    },
}
NAMES = {
    (1, 1): ["model"],
    (2, 1): ["base", "chat"],
    (2, 3): [f"{lm}.{p}" for lm in ("base", "chat") for p in range(3)],
}


def weights(
    draw: Draw, M: int, P: int, act: str = "relu", folded: bool = True
) -> dict[str, torch.Tensor]:
    w = {"_W_enc_XiDiL": draw(M, P, d, F, std=P**-0.5), "_W_dec_LXoDo": draw(F, M, P, d)}
    w |= {"b_enc_L": draw(F), "_b_dec_XoDo": draw(M, P, d), "is_folded": torch.tensor(folded)}
    for side in ("in_Xi", "out_Xo"):
        w[f"folded_scaling_factors_{side}"] = draw(M, P).abs() if folded else torch.zeros(M, P)
    return w | ({"_activation_fn.log_threshold_L": draw(F) + 0.5} if act == "jumprelu" else {})


def config(M: int, P: int, act: str = "relu", **other) -> dict:
    settings = {
        "n_models": M,
        "n_hookpoints": P,
        "d_model": d,
        "n_latents": F,
        "activation_fn": ACTIVATIONS[act],
    }
    return (
        settings | {"use_encoder_bias": True, "use_decoder_bias": True, "dtype": "float32"} | other
    )


def formula(x, w, act, c=None):
    """Return code and reconstruction; the weights read activations multiplied by `c` [M, P]."""
    x, w = x.double(), to_double(w)
    M, P = x.shape[1:3]
    c = torch.ones(M, P).double() if c is None else c.double()
    places = [(m, p) for m in range(M) for p in range(P)]
    pre = sum(c[m, p] * x[:, m, p] @ w["_W_enc_XiDiL"][m, p] for m, p in places) + w["b_enc_L"]
    f = pre.relu()
    if act == "topk":
        f = f * select_largest(pre, K)
    elif act == "jumprelu":
        f = pre * step_above(pre, w["_activation_fn.log_threshold_L"].exp())
    recon = [(f @ w["_W_dec_LXoDo"][:, m, p] + w["_b_dec_XoDo"][m, p]) / c[m, p] for m, p in places]
    return f, torch.stack(recon, dim=1)


@pytest.mark.parametrize("act", ["relu", "jumprelu"])
@pytest.mark.parametrize(("M", "P"), list(NAMES))
def test_code_and_reconstruction(tmp_path, M, P, act):
    draw = Draw(1)
    w, x = weights(draw, M, P, act), draw(40, M, P, d) * torch.tensor([1.0, 3.0])[:M, None, None]
    folder = write(tmp_path / "crosscoder", {"model_cfg.yaml": config(M, P, act), "model.pt": w})
    loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, act))
    place = dict.fromkeys(NAMES[M, P], "")
    assert_provenance(
        loaded, folder, "crosscode", hookpoint=place, norm="raw activations", bos_excluded=None
    )
    assert loaded.sources.widths == (d,) * (M * P)
    assert loaded.sources.diff_pair == (("chat", "base") if (M, P) == (2, 1) else None)


def test_topk_drops_negative_values_with_a_warning(tmp_path):
    draw = Draw(2)
    w, x = weights(draw, 2, 1, "topk"), draw(40, 2, 1, d)
    folder = write(tmp_path, {"model_cfg.yaml": config(2, 1, "topk"), "model.pt": w})
    with pytest.warns(UserWarning, match="negative ones are left out"):
        loaded = crosscoder.load(folder)
    assert_agrees(loaded, x, *formula(x, w, "topk"))


def test_unfolded_weights_need_factors(tmp_path):
    draw, c = Draw(3), torch.tensor([[0.3], [0.04]])
    w, x = (
        weights(draw, 2, 1, "jumprelu", folded=False),
        draw(40, 2, 1, d) * torch.tensor([3.0, 20.0])[:, None, None],
    )
    folder = write(
        tmp_path / "crosscoder", {"model_cfg.yaml": config(2, 1, "jumprelu"), "model.pt": w}
    )
    with pytest.raises(UserError, match=r"input_scale=\{'base': …, 'chat': …\}"):
        crosscoder.load(folder)
    loaded = crosscoder.load(folder, input_scale={"base": 0.3, "chat": 0.04})
    assert_agrees(loaded, x, *formula(x, w, "jumprelu", c))
    assert_provenance(
        loaded,
        folder,
        "crosscode",
        hookpoint={"base": "", "chat": ""},
        norm="scaled, one factor for each source",
    )


def test_biases_may_be_missing(tmp_path):
    draw = Draw(4)
    w, x = weights(draw, 2, 1), draw(40, 2, 1, d)
    stored = {name: tensor for name, tensor in w.items() if not name.startswith(("b_", "_b_"))}
    settings = config(2, 1, use_encoder_bias=False, use_decoder_bias=False)
    loaded = crosscoder.load(write(tmp_path, {"model_cfg.yaml": settings, "model.pt": stored}))
    none = {"b_enc_L": torch.zeros(F), "_b_dec_XoDo": torch.zeros(2, 1, d)}
    assert_agrees(loaded, x, *formula(x, w | none, "relu"))


@pytest.mark.parametrize("settings", [{}, {"use_encoder_bias": True}])
def test_a_missing_bias_is_refused(tmp_path, settings):
    stored = {name: tensor for name, tensor in weights(Draw(), 2, 1).items() if name != "b_enc_L"}
    with pytest.raises(UserError, match="lacks 'b_enc_L'"):
        crosscoder.load(
            write(tmp_path, {"model_cfg.yaml": config(2, 1) | settings, "model.pt": stored})
        )


@pytest.mark.parametrize(
    ("name", "cfg"),
    [
        ("BatchTopkActivation", {"k_per_example": K}),
        ("GroupMaxActivation", {"k_groups": 4, "latents_size": F}),
    ],
)
def test_other_activations_are_refused(tmp_path, name, cfg):
    settings = config(2, 1, activation_fn={"classname": name, "cfg": cfg})
    with pytest.raises(UserError, match=name):
        crosscoder.load(
            write(tmp_path, {"model_cfg.yaml": settings, "model.pt": weights(Draw(), 2, 1)})
        )


@pytest.mark.parametrize("name", ["JumpReLUActivationFunction", "AnthropicJumpReLUActivation"])
def test_older_names_of_the_jumprelu(tmp_path, name):
    draw = Draw(5)
    w, x = weights(draw, 2, 1), draw(40, 2, 1, d)
    w["_activation_fn.log_threshold_L"] = draw(F)
    settings = config(2, 1, activation_fn={"classname": name, "cfg": {"size": F, "bandwidth": 2.0}})
    folder = write(
        tmp_path, {"model_cfg.yaml": settings, "model.pt": w | {"is_folded": torch.tensor(True)}}
    )
    assert_agrees(crosscoder.load(folder), x, *formula(x, w, "jumprelu"))


def test_a_dictionary_that_may_be_a_transcoder_is_refused(tmp_path):
    settings = {
        "d_model": d,
        "n_latents": F,
        "activation_fn": {"classname": "ReLUActivation", "cfg": {}},
    }
    w = {"_W_enc_XiDiL": torch.ones(d, F), "_W_dec_LXoDo": torch.ones(F, d)}
    with pytest.raises(UserError, match="an SAE or to a transcoder"):
        crosscoder.load(write(tmp_path, {"model_cfg.yaml": settings, "model.pt": w}))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_bias_that_the_settings_deny_is_refused(tmp_path, part):
    files = {
        "model_cfg.yaml": config(2, 1) | {f"use_{part}_bias": False},
        "model.pt": weights(Draw(), 2, 1),
    }
    with pytest.raises(UserError, match=f"use_{part}_bias is false"):
        crosscoder.load(write(tmp_path, files))
