#!/usr/bin/env bash
# Qwen3-1.7B on MATH, one node with 8 GPUs: seven train, one proves.
#   DATA=…/math  bash example.sh          parquet files in veRL's format, train.parquet and test.parquet
# The server runs in an environment of its own, with mrt-reward[vllm]; PROVER_BIN is its bin folder.
# What follows the script is added to the trainer's command, such as the line of README's "A prover that follows the policy".
set -euo pipefail
MODEL=${MODEL:-Qwen/Qwen3-1.7B}
DATA=${DATA:?folder of train.parquet and test.parquet}
PROVER_BIN=${PROVER_BIN:?bin folder of the environment with mrt-reward[vllm]}
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

CUDA_VISIBLE_DEVICES=0,1,2,3,4,5,6 python -m verl.trainer.main_ppo \
  reward.type=mrt \
  reward.mrt.url="http://127.0.0.1:$PORT" \
  reward.mrt.admin_url="http://127.0.0.1:$((PORT + 1))" \
  reward.mrt.alpha=16 \
  reward.mrt.baseline=rate \
  reward.mrt.pay_ending=true \
  algorithm.adv_estimator=grpo \
  data.train_files="$DATA/train.parquet" \
  data.val_files="$DATA/test.parquet" \
  data.train_batch_size=112 \
  data.max_prompt_length=1024 \
  data.max_response_length=8192 \
  actor_rollout_ref.model.path="$MODEL" \
  actor_rollout_ref.actor.optim.lr=1e-6 \
  actor_rollout_ref.actor.optim.lr_warmup_steps=10 \
  actor_rollout_ref.actor.optim.lr_scheduler_type=cosine \
  actor_rollout_ref.actor.use_dynamic_bsz=True \
  actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384 \
  actor_rollout_ref.actor.ppo_mini_batch_size=56 \
  actor_rollout_ref.rollout.name=vllm \
  actor_rollout_ref.rollout.n=8 \
  actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
  actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True \
  actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
  trainer.n_gpus_per_node=7 \
  trainer.nnodes=1 \
  trainer.logger='[console,tensorboard]' \
  trainer.default_local_dir="$OUT" \
  trainer.project_name=mrt \
  trainer.experiment_name=qwen3-1.7b-math \
  trainer.test_freq=10 \
  trainer.save_freq=50 \
  trainer.total_epochs=3 \
  "$@"
