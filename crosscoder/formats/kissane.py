"""Crosscoders of Kissane et al. 2024 and of Neel Nanda's code: `cfg.json` and `cc_weights.pt` (or `N_cfg.json` and `N.pt`).

    f = relu(Σ_m x'_m W_enc[m] + b_enc)      x̂'_m = f W_dec[:, m] + b_dec[m]      x'_m = c_m x_m

    W_enc [M, d, F]   W_dec [F, M, d]   b_enc [F]   b_dec [M, d]

The factors c_m = √d / mean‖x_m‖ are not in the files: `input_scale`. Model 0 is the base. BOS was left out of training.
`blocks.14.hook_resid_pre` is resid_post.13.
"""

from crosscoder.activations.relu import ReLU
from crosscoder.formats.base import Dictionary, InputScale, Layout, input_scale, pair_of
from crosscoder.formats.folder import Folder, Tensors, setting
from crosscoder.formats.hookpoints import hookpoint

# of ckkissane/crosscoder-gemma-2-2b-model-diff, from the author's notebook
PUBLISHED = {"base": 0.2758961493232058, "chat": 0.24422852496546169}
REPO = "ckkissane/crosscoder-gemma-2-2b-model-diff"


def _files(folder: Folder) -> tuple[str, str] | None:
    """(settings, weights)."""
    if folder.has("cfg.json") and folder.has("cc_weights.pt"):
        return "cfg.json", "cc_weights.pt"
    versions = [name.removesuffix("_cfg.json") for name in folder.names("*_cfg.json")]
    versions = [version for version in versions if version.isdigit() and folder.has(f"{version}.pt")]
    return (f"{versions[-1]}_cfg.json", f"{versions[-1]}.pt") if versions else None


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The crosscoder of two models (or more) at one hookpoint; of several versions the last."""
    names = _files(folder)
    assert names is not None
    where, config = f"{folder.path}/{names[0]}", folder.json(names[0])
    sizes = {"d": setting(config, "d_in", int, where, None), "F": setting(config, "dict_size", int, where, None)}
    raw = folder.tensors(names[1])
    file = Tensors(raw.file, raw.left, {axis: size for axis, size in sizes.items() if size is not None})
    W_enc, W_dec = file.take("W_enc", "M d F"), file.take("W_dec", "F M d")
    b_enc, b_dec = file.take("b_enc", "F"), file.take("b_dec", "M d")
    file.done()
    M, d, _ = W_enc.shape
    place = next((config[key] for key in ("hook_point", "hook_name") if isinstance(config.get(key), str)), "")
    sources = pair_of([d] * M, hookpoint(place))
    if given is None and folder.repo == REPO:
        given = PUBLISHED
    why = f"For {REPO} they are {PUBLISHED}."
    scale = 1 / input_scale(given, sources, folder, why)
    named = [config.get(f"model_name_{letter}") for letter in "AB"]
    if not all(isinstance(name, str) for name in named):
        base = config.get("model_name")
        base = (base if "/" in base else f"google/{base}") if isinstance(base, str) else None
        named = [base, f"{base}-it"] if base and "gemma-2" in base else []
    if M != 2 or set(sources.widths) != {d}:
        named = []
    return Dictionary(
        sources,
        W_enc.permute(2, 0, 1).flatten(1).contiguous(),
        b_enc,
        W_dec.flatten(1),
        b_dec.flatten(),
        ReLU(),
        norm="x · √d / mean‖x‖, one factor for each model",
        bos=False,
        scale=scale,
        selection_scale=W_dec.norm(dim=-1).sum(1),
        models={name: str(weights) for name, weights in zip(("base", "chat"), named, strict=True)} if named else {},
        notes={
            "input_scale": {
                s.name: 1 / float(part[0]) for s, part in zip(sources, scale.split(sources.widths), strict=True)
            }
        },
    )


# no star in them: on the hub it would reach into other folders
VERSIONS = tuple(f"{digits}{end}" for digits in ("[0-9]", "[0-9][0-9]") for end in ("_cfg.json", ".pt"))
LAYOUT = Layout(
    "kissane", (), read, ("cfg.json", "cc_weights.pt", *VERSIONS), fits=lambda folder: _files(folder) is not None
)
