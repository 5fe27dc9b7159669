#!/usr/bin/env bash
# Qwen3-1.7B, which thinks, on MATH, one node with 8 GPUs: four train, three generate, one proves.
#   DATA=…/math  bash example.sh          train.jsonl and test.jsonl, with the columns problem and answer
#   REWARD=…/reward.py                    your reward_func(queries, prompts, labels)
# The server runs in an environment of its own, with the extra vllm; PROVER_BIN is its bin folder.
# What follows the script is added to the trainer's command, such as the line of README's "A prover that follows the policy".
set -euo pipefail
MODEL=${MODEL:-Qwen/Qwen3-1.7B}
DATA=${DATA:?folder of train.jsonl and test.jsonl}
REWARD=${REWARD:?file with reward_func, or address of a reward model}
PROVER_BIN=${PROVER_BIN:?bin folder of the environment with the extra vllm}
PORT=${PORT:-8901}
OUT=${OUT:-$PWD/qwen3-1.7b-math}

CUDA_VISIBLE_DEVICES=7 "$PROVER_BIN/mrt-reward" serve --engine vllm --model "$MODEL" --port "$PORT" \
  --admin-port $((PORT + 1)) --weights-root "$OUT" &
SERVER=$!
trap 'kill $SERVER' EXIT
until curl -sf "http://127.0.0.1:$PORT/readyz" > /dev/null; do
  kill -0 $SERVER
  sleep 5
done

CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6 python -m mrt_openrlhf \
  --mrt.url "http://127.0.0.1:$PORT" \
  --mrt.admin_url "http://127.0.0.1:$((PORT + 1))" \
  --mrt.alpha 16 \
  --mrt.baseline rate \
  --mrt.pay_ending true \
  --actor.model_name_or_path "$MODEL" \
  --actor.num_nodes 1 \
  --actor.num_gpus_per_node 4 \
  --actor.adam.lr 1e-6 \
  --actor.gradient_checkpointing_enable \
  --vllm.num_engines 3 \
  --vllm.tensor_parallel_size 1 \
  --vllm.gpu_memory_utilization 0.85 \
  --vllm.enable_prefix_caching \
  --ds.zero_stage 2 \
  --ds.packing_samples \
  --data.prompt_dataset "$DATA/train.jsonl" \
  --data.input_key problem \
  --data.label_key answer \
  --data.apply_chat_template \
  --data.max_len 9216 \
  --rollout.max_new_tokens 8192 \
  --rollout.batch_size 128 \
  --rollout.n_samples_per_prompt 8 \
  --rollout.micro_batch_size 8 \
  --train.batch_size 512 \
  --train.micro_batch_size 4 \
  --train.num_episodes 3 \
  --reward.remote_url "$REWARD" \
  --algo.advantage.estimator group_norm \
  --algo.kl.init_coef 0 \
  --eval.dataset "$DATA/test.jsonl" \
  --eval.steps 10 \
  --ckpt.output_dir "$OUT" \
  --ckpt.path "$OUT/checkpoints" \
  --logger.tensorboard_dir ./tensorboard \
  "$@"
