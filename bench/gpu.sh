#!/bin/bash
# Everything that only a GPU can show, in one call of at most ten minutes, offline. bench/README.md says what each stage
# does and what a machine without Node or oneDNN needs (bench/gpu/carry.sh, run beforehand where they are).
#
#   bench/gpu.sh first      what is learnt soonest, in 400 s: build kernels convolutions network profile tiles
#   bench/gpu.sh second     the rest, in 480 s: checks train bench node sanitizer
#   bench/gpu.sh [--seconds 570] [stage ...]
#
# No stage: all of them. Results: $OUT, or bench/results/: gpu-<date>.json, gpu-<date>.log and gpu-plans.tar.xz. Exit status 1 when a stage
# failed, 2 for wrong arguments.
set -u
here=$(cd "$(dirname "$0")" && pwd)
python=${WBSR_PYTHON:-python3}
if ! command -v "$python" >/dev/null; then
  echo "bench/gpu.sh needs python3 (3.9 or newer); WBSR_PYTHON may name one" >&2
  exit 1
fi
exec "$python" -u "$here/gpu/run.py" "$@"
