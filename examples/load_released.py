"""Load a released dictionary, encode the activations of its model, and export it.

SPEC is a short name such as gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium (the
default; `crosscoder-formats list` shows all), hf://owner/name/folder, or a folder on disk. Only the
first two need the hub. It takes seconds after the download.
"""

import argparse

import torch

import crosscoder

DEFAULT = "gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium"
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("spec", nargs="?", default=DEFAULT)
parser.add_argument("--export", help="folder in which to write it in the layout of SAELens")
args = parser.parse_args()

sae = crosscoder.load(args.spec)
print(sae)
for key in ("layout", "hookpoint", "norm", "bos_excluded"):
    print(f"{key}: {sae.provenance[key]}")

# raw activations [n_tokens, d]; pair.read(text) reads those of a real model
acts = torch.randn(8, sae.sources.d_total)
code = sae.encode(acts)
print(f"{code.l0().mean().item():.1f} of {sae.n_latents} latents are active on a token of noise")
print("reconstruction:", tuple(sae.decode(code).shape))

if args.export:
    crosscoder.export(sae, "saelens", args.export)
