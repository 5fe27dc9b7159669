#!/usr/bin/env bash
# A server of ours on each GPU, with vLLM inside it, which loads the weights that the trainer saves below WEIGHTS_ROOT. The
# trainer has their addresses as a list: ports from PROVER_PORT on, and admin ports after these. All ask for the key.
set -euo pipefail
: "${MODEL:?set MODEL to the prover, the model that is trained}" "${MRT_REWARD_API_KEY:?set a key for callers}"
: "${PROVER_BIN:?set PROVER_BIN to the bin folder of the environment with mrt-reward[vllm]}"
: "${WEIGHTS_ROOT:?set WEIGHTS_ROOT to a folder above what the trainer saves}"
num_gpus=${PROVER_GPUS:-${SLURM_GPUS_ON_NODE:-8}} port=${PROVER_PORT:-8000}
read -ra more <<< "${PROVER_ARGS:-}"
trap 'kill -TERM $(jobs -p) 2>/dev/null || true; wait || true' EXIT
trap 'exit 143' TERM INT

for ((gpu = 0; gpu < num_gpus; gpu++)); do
  CUDA_VISIBLE_DEVICES=$gpu "$PROVER_BIN/mrt-reward" serve --engine vllm --model "$MODEL" --max-model-len "${MAX_MODEL_LEN:-16384}" \
    --host 0.0.0.0 --port $((port + gpu)) --admin-host 0.0.0.0 --admin-port $((port + num_gpus + gpu)) \
    --weights-root "$WEIGHTS_ROOT" --log-format json "${more[@]}" &
  servers[gpu]=$!
done
# One that ends at its start ends the job, which would wait for it.
for ((gpu = 0; gpu < num_gpus; gpu++)); do
  until curl -sf -o /dev/null "http://127.0.0.1:$((port + gpu))/readyz"; do
    kill -0 "${servers[gpu]}" 2>/dev/null || { echo "the server of GPU $gpu ended before it could prove; see above" >&2; exit 1; }
    sleep 2
  done
done
# Later one that ends leaves its groups to the others, which the trainer's client does by itself; with the last the node's work ends.
wait
