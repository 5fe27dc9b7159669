#!/usr/bin/env bash
# One vLLM engine a GPU, on loopback, because most of its routes ask for no key (SECURITY.md), and our server before them.
# Traces are spread over the engines; one that fails is left out until it works again. PROVER_BIN is the bin folder of the
# environment that both run in.
set -euo pipefail
: "${MODEL:?set MODEL to the prover}" "${MRT_REWARD_API_KEY:?set a key for callers}"
: "${PROVER_BIN:?set PROVER_BIN to the bin folder of the environment with mrt-reward[vllm]}"
num_gpus=${PROVER_GPUS:-${SLURM_GPUS_ON_NODE:-8}} port=${PROVER_PORT:-8000} first=${ENGINE_PORT:-8100}
export MRT_REWARD_ENGINE_API_KEY=${MRT_REWARD_ENGINE_API_KEY:-$(openssl rand -hex 32)} VLLM_MAX_N_SEQUENCES=128
read -ra more <<< "${PROVER_ARGS:-}"
trap 'kill -TERM $(jobs -p) 2>/dev/null || true; wait || true' EXIT
trap 'exit 143' TERM INT

urls=()
for ((gpu = 0; gpu < num_gpus; gpu++)); do
  CUDA_VISIBLE_DEVICES=$gpu VLLM_API_KEY=$MRT_REWARD_ENGINE_API_KEY "$PROVER_BIN/vllm" serve "$MODEL" \
    --served-model-name prover --host 127.0.0.1 --port $((first + gpu)) --max-model-len "${MAX_MODEL_LEN:-16384}" --enable-prompt-tokens-details \
    "${more[@]}" &
  engine=$!
  urls+=("http://127.0.0.1:$((first + gpu))")
done
# The last was started last; those that are later yet are let in when they answer.
until curl -sf -o /dev/null "${urls[-1]}/health"; do
  kill -0 "$engine" 2>/dev/null || { echo "the engine of GPU $((num_gpus - 1)) ended; see above" >&2; exit 1; }
  sleep 2
done
"$PROVER_BIN/mrt-reward" serve --engine openai --engine-url "$(IFS=,; echo "${urls[*]}")" --model prover \
  --tokenizer "$MODEL" --host 0.0.0.0 --port "$port" --admin-port 0 --log-format json &
wait $!
