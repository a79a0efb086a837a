#!/usr/bin/env bash
# The one command for a machine with an NVIDIA GPU: build from the tree without network, test what only a GPU can,
# measure.
#
#   benchmarks/gpu/run.sh                     all parts, the most valuable first; each with a limit
#   benchmarks/gpu/run.sh build test          some of them, of build test steps ffn convs training kernels baselines sanitize
#
# Results go to $OUT (default: benchmarks/results/gpu) as JSON with device and versions. It needs torch with CUDA, nvcc,
# cmake, ninja, pybind11, pytest and hypothesis; nothing is downloaded.
set -uo pipefail
cd "$(dirname "$0")/../.."
export OUT="${OUT:-benchmarks/results/gpu}" PYTHONUNBUFFERED=1 PYTHONPATH="$PWD" LOMT_KERNELS_BUILD=cuda
PYTHON="${PYTHON:-python3}"
mkdir -p "$OUT"
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(build test steps ffn convs training kernels baselines sanitize)
status=0

part() { # NAME SECONDS COMMAND...: with a limit of its own, so that what comes after it has its turn
    local name="$1" limit="$2" begin=$SECONDS
    shift 2
    echo "== $name"
    if timeout "$limit" "$@"; then
        echo "== $name: well, $((SECONDS - begin)) s"
    else
        echo "== $name: FAILED with $?, $((SECONDS - begin)) s"
        status=1
    fi
}

for name in "${parts[@]}"; do
    case "$name" in
    build)
        # In place: beside the sources, where PYTHONPATH finds it.
        part build 90 "$PYTHON" setup.py -q build_ext --inplace
        part info 30 "$PYTHON" -m lomt_kernels
        ;;
    test) part test 200 "$PYTHON" -m pytest -q -p no:cacheprovider -p no:xdist -m gpu tests/kernels ;;
    kernels) part kernels 60 "$PYTHON" -m benchmarks.gpu.kernels --json "$OUT/kernels.json" ;;
    steps) part steps 60 "$PYTHON" -m benchmarks.gpu.steps --json "$OUT/steps.json" ;;
    ffn) part ffn 60 "$PYTHON" -m benchmarks.gpu.ffn --json "$OUT/ffn.json" ;;
    convs) part convs 100 "$PYTHON" -m benchmarks.gpu.convs --json "$OUT/convs.json" ;;
    training) part training 90 "$PYTHON" -m benchmarks.gpu.training --json "$OUT/training.json" ;;
    baselines) part baselines 90 "$PYTHON" -m benchmarks.gpu.baselines --json "$OUT/baselines.json" ;;
    sanitize)
        part sanitize 60 compute-sanitizer --error-exitcode 1 --launch-timeout 30 \
            "$PYTHON" -m pytest -q -p no:cacheprovider -p no:xdist -m gpu -k "small and cuda" tests/kernels
        ;;
    *)
        echo "unknown part '$name': there are build, test, steps, ffn, convs, training, kernels, baselines, sanitize" >&2
        exit 2
        ;;
    esac
done
exit $status
