#!/usr/bin/env bash
# Train a recipe on several nodes under SLURM:
#
#   sbatch slurm.sh RECIPE DIRECTORY [more options of kd train]
#
# Two minutes before the time is up every process is sent SIGTERM: the run writes last.ckpt and ends with 143, and the
# job is queued again. Started again after whatever broke it off, the run goes on exactly.
#SBATCH --job-name=distil
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

recipe=$1 directory=$2
shift 2

if [ -e "$directory/recipe.yaml" ]; then resume=(--resume auto); else resume=(); fi

code=0
srun --kill-on-bad-exit=1 \
  kd train "$recipe" --directory "$directory" ${resume[@]+"${resume[@]}"} "$@" || code=$?

if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
