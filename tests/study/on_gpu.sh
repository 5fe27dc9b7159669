#!/usr/bin/env bash
# Makes the runs of a stage on a machine with a GPU: several at once, because one run leaves most of it idle.
#
#   tests/study/on_gpu.sh STAGE VALUES OUT [PROCESSES]
#
# Runs that are done are skipped and runs that were begun go on, so that the same words may be said again after a kill.
set -euo pipefail
stage=$1 values=$2 out=$3 processes=${4:-8}
mkdir -p "$out/$stage"
python -m tests.study names --stage "$stage" |
  xargs -P "$processes" -L 1 sh -c '
    python -m tests.study run --stage "$0" --values "$1" --out "$2" --threads 2 --arm "$3" --seed "$4" \
      2>>"$2/$0/on_gpu.log"' "$stage" "$values" "$out"
python -m tests.study report --stage "$stage" --out "$out" --figure "$out/$stage/study.svg" > "$out/$stage/report.md"
