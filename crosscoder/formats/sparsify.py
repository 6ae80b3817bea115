"""EleutherAI's sparsify: `HOOKPOINT/cfg.json` and `HOOKPOINT/sae.safetensors`.

    f = the k largest of relu(x̃ Eᵀ + b)      x̃ = x − b_dec      x̂ = f W_dec + b_dec

    encoder.weight [F, d]   encoder.bias [F]   W_dec [F, d]   b_dec [d]

The folder is named after a module of the language model, whose output is read. Transcoders and group-max activations are refused.
"""

from crosscoder.activations.topk import TopK
from crosscoder.errors import UserError
from crosscoder.formats.base import Dictionary, InputScale, Layout, no_input_scale, one_source
from crosscoder.formats.folder import Folder, Tensors, one_of, setting
from crosscoder.formats.hookpoints import hookpoint

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def read(folder: Folder, given: InputScale) -> Dictionary:
    """The SAE of one module's output."""
    no_input_scale(given, folder)
    where, config = f"{folder.path}/{CONFIG}", folder.json(CONFIG)
    if config.get("transcode") or config.get("skip_connection"):
        raise UserError(f"{folder.origin} is a transcoder, which maps one site to another: not read")
    one_of(config.get("activation", "topk"), ("topk",), f"{where}: activation")
    if config.get("signed"):
        raise UserError(f"{where}: signed latents are not read; a latent here is positive")
    d, k = setting(config, "d_in", int, where), setting(config, "k", int, where)
    n_latents = setting(config, "num_latents", int, where, 0) or d * setting(config, "expansion_factor", int, where)
    raw = folder.tensors(WEIGHTS)
    if "W_skip" in raw:
        raise UserError(f"{folder.origin} is a skip transcoder, which maps one site to another: not read")
    file = Tensors(raw.file, raw.left, {"d": d, "F": n_latents})
    W_enc, b_enc = file.take("encoder.weight", "F d"), file.take("encoder.bias", "F")
    W_dec, b_dec = file.take("W_dec", "F d"), file.take("b_dec", "d")
    file.done()
    if not 0 < k <= n_latents:
        raise UserError(f"{where}: k = {k}, but there are {n_latents} latents")
    place = hookpoint(folder.origin.rstrip("/").rpartition("/")[2])
    sources, _ = one_source(d, place if "." in place and place.split(".")[-1].isdigit() else "", None)
    return Dictionary(sources, W_enc, b_enc, W_dec, b_dec, TopK(k), pre_bias=True, notes={"k": k})


LAYOUT = Layout("sparsify", (CONFIG, WEIGHTS), read)
