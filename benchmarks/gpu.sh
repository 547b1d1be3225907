#!/usr/bin/env bash
# The speed comparison and the GPU tests on one NVIDIA GPU: a random Llama of about 1.3 billion weights, bf16 and fp16.
#
#   benchmarks/gpu.sh GUE_FOLDER TOKENIZER_FOLDER [OUTPUT_FOLDER]
#
# It assumes: Linux; a driver that serves the CUDA of PyPI's torch build; a GPU with at least 40 GB and bf16 (Ampere or
# newer); 8 cores and 32 GB of memory; `make setup` done in this checkout (needs PyPI once); nobody else on the GPU. It
# changes no setting of the GPU. GUE_FOLDER holds GUE/prom_core_all/{train,dev,test}.csv. What fails is named at the end,
# and the rest is done all the same.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,9p' "$0" >&2; exit 2; }
gue="$(realpath "$1")" tokenizer="$(realpath "$2")" output="$(realpath -m "${3:-results/gpu}")"
cd "$(dirname "$0")/.."
mkdir -p "$output"
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$output/gpu.txt"

.venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
  || { echo "torch cannot use this GPU: see TORCH_INDEX in the Makefile" >&2; exit 1; }

trap 'exit 130' INT TERM
failed=()
for precision in bf16 fp16; do
  .venv/bin/snakemake benchmark --directory "$output/$precision" --cores all --forcerun benchmark \
    --configfile config/benchmark.yaml --config \
    "data={\"source\": \"directory\", \"directory\": {\"path\": \"$gue\"}}" \
    "benchmark={\"tokenizer\": \"$tokenizer\", \"hidden_size\": 2048, \"layers\": 20, \"heads\": 16,
      \"key_value_heads\": 16, \"intermediate_size\": 5632, \"examples\": 512, \"scoring_examples\": 256}" \
    "training={\"precision\": \"$precision\", \"global_batch_size\": 512}" 2>&1 | tee "$output/$precision.log" \
    || failed+=("the comparison in $precision, see $output/$precision.log")
done
.venv/bin/python -m pytest -m gpu tests/gpu 2>&1 | tee "$output/tests.log" || failed+=("tests, see $output/tests.log")
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
