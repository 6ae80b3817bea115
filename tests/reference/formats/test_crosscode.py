"""crosscode: pre = Σ_mp x_mp W_enc[m, p] + b_enc, x̂_mp = f W_dec[:, m, p] + b_dec[m, p], models m and hookpoints p."""

import pytest
import torch

import crosscoder
from crosscoder.errors import UserError
from tests.foreign import write
from tests.reference.formats.files import Draw, F, above, agrees, d, double, largest, tells

K = 5
ACTIVATIONS = {
    "relu": {"classname": "ReLUActivation", "cfg": {}},
    "topk": {"classname": "TopkActivation", "cfg": {"k": K}},
    "jumprelu": {"classname": "AnthropicSTEJumpReLUActivation", "cfg": {"size": F, "bandwidth": 2.0}},
}
NAMES = {
    (1, 1): ["model"],
    (2, 1): ["base", "chat"],
    (2, 3): [f"{lm}.{p}" for lm in ("base", "chat") for p in range(3)],
}


def weights(draw: Draw, M: int, P: int, act: str = "relu", folded: bool = True) -> dict[str, torch.Tensor]:
    w = {"_W_enc_XiDiL": draw(M, P, d, F, std=P**-0.5), "_W_dec_LXoDo": draw(F, M, P, d)}
    w |= {"b_enc_L": draw(F), "_b_dec_XoDo": draw(M, P, d), "is_folded": torch.tensor(folded)}
    for side in ("in_Xi", "out_Xo"):
        w[f"folded_scaling_factors_{side}"] = draw(M, P).abs() if folded else torch.zeros(M, P)
    return w | ({"_activation_fn.log_threshold_L": draw(F) + 0.5} if act == "jumprelu" else {})


def config(M: int, P: int, act: str = "relu", **other) -> dict:
    said = {"n_models": M, "n_hookpoints": P, "d_model": d, "n_latents": F, "activation_fn": ACTIVATIONS[act]}
    return said | {"use_encoder_bias": True, "use_decoder_bias": True, "dtype": "float32"} | other


def formula(x, w, act, c=None):
    """`c` [M, P] is by what activations are multiplied before the weights read them."""
    x, w = x.double(), double(w)
    M, P = x.shape[1:3]
    c = torch.ones(M, P).double() if c is None else c.double()
    places = [(m, p) for m in range(M) for p in range(P)]
    pre = sum(c[m, p] * x[:, m, p] @ w["_W_enc_XiDiL"][m, p] for m, p in places) + w["b_enc_L"]
    f = pre.relu()
    if act == "topk":
        f = f * largest(pre, K)
    elif act == "jumprelu":
        f = pre * above(pre, w["_activation_fn.log_threshold_L"].exp())
    recon = [(f @ w["_W_dec_LXoDo"][:, m, p] + w["_b_dec_XoDo"][m, p]) / c[m, p] for m, p in places]
    return f, torch.stack(recon, dim=1)


@pytest.mark.parametrize("act", ["relu", "jumprelu"])
@pytest.mark.parametrize(("M", "P"), list(NAMES))
def test_code_and_reconstruction(tmp_path, M, P, act):
    draw = Draw(1)
    w, x = weights(draw, M, P, act), draw(40, M, P, d) * torch.tensor([1.0, 3.0])[:M, None, None]
    folder = write(tmp_path / "crosscoder", {"model_cfg.yaml": config(M, P, act), "model.pt": w})
    loaded = crosscoder.load(folder)
    agrees(loaded, x, *formula(x, w, act))
    place = dict.fromkeys(NAMES[M, P], "")
    tells(loaded, folder, "crosscode", hookpoint=place, norm="raw activations", bos_excluded=None)
    assert loaded.sources.widths == (d,) * (M * P)
    assert loaded.sources.contrast == (("chat", "base") if (M, P) == (2, 1) else None)


def test_topk_leaves_negative_values_out_with_a_warning(tmp_path):
    draw = Draw(2)
    w, x = weights(draw, 2, 1, "topk"), draw(40, 2, 1, d)
    folder = write(tmp_path, {"model_cfg.yaml": config(2, 1, "topk"), "model.pt": w})
    with pytest.warns(UserWarning, match="negative ones are left out"):
        loaded = crosscoder.load(folder)
    agrees(loaded, x, *formula(x, w, "topk"))


def test_weights_that_are_not_folded_need_the_factors(tmp_path):
    draw, c = Draw(3), torch.tensor([[0.3], [0.04]])
    w, x = weights(draw, 2, 1, "jumprelu", folded=False), draw(40, 2, 1, d) * torch.tensor([3.0, 20.0])[:, None, None]
    folder = write(tmp_path / "crosscoder", {"model_cfg.yaml": config(2, 1, "jumprelu"), "model.pt": w})
    with pytest.raises(UserError, match=r"input_scale=\{'base': …, 'chat': …\}"):
        crosscoder.load(folder)
    loaded = crosscoder.load(folder, input_scale={"base": 0.3, "chat": 0.04})
    agrees(loaded, x, *formula(x, w, "jumprelu", c))
    tells(loaded, folder, "crosscode", hookpoint={"base": "", "chat": ""}, norm="scaled, one factor for each source")


def test_biases_may_be_missing(tmp_path):
    draw = Draw(4)
    w, x = weights(draw, 2, 1), draw(40, 2, 1, d)
    stored = {name: tensor for name, tensor in w.items() if not name.startswith(("b_", "_b_"))}
    said = config(2, 1, use_encoder_bias=False, use_decoder_bias=False)
    loaded = crosscoder.load(write(tmp_path, {"model_cfg.yaml": said, "model.pt": stored}))
    none = {"b_enc_L": torch.zeros(F), "_b_dec_XoDo": torch.zeros(2, 1, d)}
    agrees(loaded, x, *formula(x, w | none, "relu"))


@pytest.mark.parametrize("said", [{}, {"use_encoder_bias": True}])
def test_biases_that_should_be_there_are_missed(tmp_path, said):
    stored = {name: tensor for name, tensor in weights(Draw(), 2, 1).items() if name != "b_enc_L"}
    with pytest.raises(UserError, match="lacks 'b_enc_L'"):
        crosscoder.load(write(tmp_path, {"model_cfg.yaml": config(2, 1) | said, "model.pt": stored}))


@pytest.mark.parametrize(
    ("name", "cfg"),
    [("BatchTopkActivation", {"k_per_example": K}), ("GroupMaxActivation", {"k_groups": 4, "latents_size": F})],
)
def test_other_activations_are_refused(tmp_path, name, cfg):
    said = config(2, 1, activation_fn={"classname": name, "cfg": cfg})
    with pytest.raises(UserError, match=name):
        crosscoder.load(write(tmp_path, {"model_cfg.yaml": said, "model.pt": weights(Draw(), 2, 1)}))
