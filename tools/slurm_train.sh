#!/usr/bin/env bash
# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
# Train under slurm.
#   bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]
# GPUS (8) in all, GPUS_PER_NODE (8; 0 for CPU nodes), TASKS_PER_NODE (GPUS_PER_NODE),
# CPUS_PER_TASK (5), PORT and SRUN_ARGS are read from the environment.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]" >&2
    exit 2
fi
PARTITION="$1"
JOB_NAME="$2"
CONFIG="$3"
WORK_DIR="$4"
GPUS="${GPUS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-8}"
TASKS_PER_NODE="${TASKS_PER_NODE:-$((GPUS_PER_NODE > 0 ? GPUS_PER_NODE : GPUS))}"
CPUS_PER_TASK="${CPUS_PER_TASK:-5}"
read -r -a SRUN_ARGS <<< "${SRUN_ARGS:-}"
PYTHON="${PYTHON:-python}"
TOOLS="$(cd "$(dirname "$0")" && pwd)"

if [ "$GPUS_PER_NODE" -gt 0 ]; then
    SRUN_ARGS+=("--gres=gpu:$GPUS_PER_NODE")
fi
export MASTER_PORT="${PORT:-29500}"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
exec srun --partition="$PARTITION" \
    --job-name="$JOB_NAME" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$TASKS_PER_NODE" \
    --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 \
    "${SRUN_ARGS[@]}" \
    "$PYTHON" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "${@:5}"
