#!/usr/bin/env bash
# The embedded engine on a GPU, on a machine that has PyTorch and transformers and no network: at most 8 minutes.
#
#   tests/gpu/run.sh OUT [--tiny] [--study STAGE] [other flags of python -m tests.gpu]
#
# OUT has gpu.md, gpu.json and gpu.log. The wheels of tests/gpu/wheels.sh are expected in build/gpu-wheels ($WHEELS);
# without them, our dependencies have to be installed. With --study the runs of a stage of the study come after it, for at
# most STUDY_SECONDS (400), and are packed into OUT/study.tgz, those that were only begun too.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
study='' flags=()
while (($#)); do
  case $1 in
    --study) study=$2 && shift 2 ;;
    *) flags+=("$1") && shift ;;
  esac
done
wheels=${WHEELS:-build/gpu-wheels} python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ -d "$wheels" ]; then
  "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
    --target "$scratch/site" "$wheels"/*.whl
  export PYTHONPATH="$scratch/site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
status=0
"$python" -m tests.gpu --out "$out" ${flags[@]+"${flags[@]}"} 2>"$out/gpu.log" || status=$?
tail -n 20 "$out/gpu.log" >&2
if [ -n "$study" ]; then
  # The study's own script says python.
  mkdir -p "$scratch/bin"
  printf '#!/bin/sh\nexec %q "$@"\n' "$(command -v "$python")" >"$scratch/bin/python"
  chmod +x "$scratch/bin/python"
  code=0
  PATH="$scratch/bin:$PATH" timeout "${STUDY_SECONDS:-400}" \
    tests/study/on_gpu.sh "$study" likelihood "$scratch/study" || code=$?
  tar -C "$scratch" -czf "$out/study.tgz" study
  # Time that is up is no failure.
  [ "$code" = 0 ] || [ "$code" = 124 ] || status=$code
fi
exit "$status"
