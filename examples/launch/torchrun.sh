#!/usr/bin/env bash
# Train a recipe on all GPUs of one or several machines. On each of them:
#
#   NODES=2 HEAD=10.0.0.1 PROCESSES=8 bash torchrun.sh RECIPE DIRECTORY [more options of kd train]
#
# DIRECTORY must be one that all machines see. Started again after whatever broke it off, the run goes on exactly.
set -euo pipefail

recipe=$1 directory=$2
shift 2

if [ -e "$directory/recipe.yaml" ]; then resume=(--resume auto); else resume=(); fi

exec torchrun \
  --nnodes="${NODES:-1}" \
  --nproc-per-node="${PROCESSES:-gpu}" \
  --rdzv-backend=c10d \
  --rdzv-endpoint="${HEAD:-localhost}:${PORT:-29400}" \
  --rdzv-id="${RUN_ID:-kd}" \
  --no-python \
  kd train "$recipe" --directory "$directory" ${resume[@]+"${resume[@]}"} "$@"
