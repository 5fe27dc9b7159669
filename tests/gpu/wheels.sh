#!/usr/bin/env bash
# Downloads what a machine with PyTorch and transformers lacks, for a machine without network: about 5 MB of wheels.
#
#   tests/gpu/wheels.sh [FOLDER] [PYTHON]        build/gpu-wheels, for CPython 3.12 on x86-64
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-build/gpu-wheels} version=${2:-3.12} python=${PIP_PYTHON:-python3}
names='annotated-doc annotated-types antlr4-python3-runtime fastapi jiter latex2sympy2_extended math-verify
  pydantic pydantic-settings pydantic_core python-dotenv starlette structlog typing-inspection uvicorn'
wanted=()
for name in $names; do
  line=$(grep -i "^${name//[-_]/[-_]}==" constraints/cpu.txt) || { echo "constraints/cpu.txt has no $name" >&2; exit 1; }
  wanted+=("$line")
done
platforms=()
for glibc in 2_17 2_24 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
rm -rf "$folder"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
  --python-version "$version" "${platforms[@]}" --platform manylinux2014_x86_64 --dest "$folder" "${wanted[@]}"
du -sh "$folder"
