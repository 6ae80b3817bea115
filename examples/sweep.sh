#!/usr/bin/env bash
# Sweep k and the learning rate on a planted world, then list the runs by FVE against L0.
# Run it in a clone; further settings are passed on: examples/sweep.sh data=hard n_latents=1024
# It takes about three minutes on two CPU cores. outputs/sweep/pareto.html is the table with plots.
# The same command again trains only the runs that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

python train.py --multirun k=4,8,16 lr=1e-3,2e-3 data=easy eval=[reconstruction] logger=none \
  n_latents=512 n_tokens=100_000 train_tokens=500_000 hydra.sweep.dir=outputs/sweep "$@"
