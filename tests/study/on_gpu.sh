#!/usr/bin/env bash
# Makes the runs of a stage on a machine with a GPU: several at once, because one run leaves most of it idle.
#
#   tests/study/on_gpu.sh POLICY STAGE VALUES OUT [PROCESSES]
#
# Runs that are done are skipped and runs that were begun go on, so that the same words may be said again after a kill.
set -euo pipefail
policy=$1 stage=$2 values=$3 out=$4 processes=${5:-8}
mkdir -p "$out"
python -m tests.study names --stage "$stage" |
  xargs -P "$processes" -L 1 sh -c '
    python -m tests.study run --policy "$0" --stage "$1" --values "$2" --out "$3" --threads 2 --arm "$4" --seed "$5" \
      2>>"$3/on_gpu.log"' "$policy" "$stage" "$values" "$out"
python -m tests.study report --out "$out" --figure "$out/study.svg" > "$out/report.md"
