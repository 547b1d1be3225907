#!/usr/bin/env bash
# The speed comparison and the GPU tests on one NVIDIA GPU, with a random Llama.
#
#   benchmarks/gpu.sh GUE_FOLDER TOKENIZER_FOLDER [OUTPUT_FOLDER] [--size 1.3b|8b|tiny] [--precision bf16|fp16|both]
#                     [--examples N] [--no-original] [--no-tests]
#
# The defaults are results/gpu, 1.3b, both, 128 examples. They are chosen so that a precision takes at most 10 minutes on
# an H100. The size `tiny` tries the script out. TRL's trainer takes part if it can be imported, and Liger's kernels are
# used if they can (benchmarks/README.md says how to install both).
#
# It assumes: Linux; a driver that serves the CUDA of the torch build; a GPU with bf16 (Ampere or newer) and at least 40 GB
# (1.3b) or 80 GB (8b); 8 cores and 32 GB of memory; nobody else on the GPU. It runs the interpreter that PYTHON names,
# otherwise that of `make setup`. It changes no setting of the GPU. GUE_FOLDER holds GUE/prom_core_all/{train,dev,test}.csv.
# What fails is named at the end, and the rest is done all the same.
set -euo pipefail

usage() { sed -n '2,15p' "$0" >&2; exit 2; }
size=1.3b precisions="bf16 fp16" examples=128 original=true tests=yes folders=()
while [ $# -gt 0 ]; do
  case "$1" in
    --size) size="${2:-}"; shift ;;
    --precision) precisions="${2:-}"; [ "$precisions" != both ] || precisions="bf16 fp16"; shift ;;
    --examples) examples="${2:-}"; shift ;;
    --no-original) original=false ;;
    --no-tests) tests=no ;;
    -*) usage ;;
    *) folders+=("$1") ;;
  esac
  shift
done
[ ${#folders[@]} -ge 2 ] && [ ${#folders[@]} -le 3 ] || usage
case "$precisions" in bf16 | fp16 | "bf16 fp16") ;; *) usage ;; esac
[[ "$examples" =~ ^[1-9][0-9]*$ ]] || usage
case "$size" in
  tiny) shape='"hidden_size": 64, "layers": 2, "heads": 4, "key_value_heads": 2, "intermediate_size": 128' ;;
  1.3b) shape='"hidden_size": 2048, "layers": 20, "heads": 16, "key_value_heads": 16, "intermediate_size": 5632' ;;
  8b) shape='"hidden_size": 4096, "layers": 32, "heads": 32, "key_value_heads": 8, "intermediate_size": 14336,
      "vocabulary": 128256' ;;
  *) usage ;;
esac
gue="$(realpath "${folders[0]}")" tokenizer="$(realpath "${folders[1]}")"
output="$(realpath -m "${folders[2]:-results/gpu}")"
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
mkdir -p "$output"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$output/gpu.txt"

"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
  || { echo "torch cannot use this GPU: see TORCH_INDEX in the Makefile" >&2; exit 1; }
peers='[]'
"$python" -c 'from trl import SFTTrainer' >/dev/null 2>&1 && peers='["trl"]' || echo "without TRL, which cannot be imported" >&2

trap 'exit 130' INT TERM
failed=()
for precision in $precisions; do
  "$python" -m snakemake benchmark --directory "$output/$precision" --cores all --forcerun benchmark \
    --configfile config/benchmark.yaml --config \
    "data={\"source\": \"directory\", \"directory\": {\"path\": \"$gue\"}}" \
    "benchmark={\"tokenizer\": \"$tokenizer\", $shape, \"examples\": $examples, \"scoring_examples\": 64,
      \"repeats\": 3, \"original\": $original, \"peers\": $peers}" \
    "training={\"precision\": \"$precision\", \"global_batch_size\": $examples}" 2>&1 | tee "$output/$precision.log" \
    || failed+=("the comparison in $precision, see $output/$precision.log")
done
[ $tests = no ] || "$python" -m pytest -m gpu tests/gpu 2>&1 | tee "$output/tests.log" \
  || failed+=("tests, see $output/tests.log")
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
