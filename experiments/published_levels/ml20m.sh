#!/usr/bin/env bash
# The VAE family on MovieLens-20M under the published protocol, seed 0, beside EASE; then NDCG@100, Recall@20 and Recall@50.
#   bash experiments/published_levels/ml20m.sh FOLDER [overrides for all, such as device=cuda]
set -euo pipefail
folder=$1
shift
runs=${XREC_RUNS:-runs}/ml20m
own=('~model.components.user_encoder.latent_size' '~model.components.user_encoder.decoder') # of encoders whose z is the user

run() {
  local name=$1
  shift
  [ -f "$runs/$name/results.parquet" ] ||
    python experiments/run.py experiment=ml20m_multvae "data.source.path=$folder" "hydra.run.dir=$runs/$name" "$@"
}
run vae "$@"
run dae model/user_encoder=dae '~loss.schedules.kl' 'baselines=[ease]' "$@"
run recvae model/user_encoder=recvae model.embedding_size=200 '~loss.schedules.kl.steps' training.learning_rate=0.0005 "${own[@]}" 'baselines=[ease]' "$@"
run h_vamp model/user_encoder=h_vamp model.components.user_encoder.n_pseudo_inputs=1000 '~model.components.user_encoder.decoder' 'baselines=[ease]' "$@"
for metric in ndcg@100 recall@20 recall@50; do
  echo "$metric"
  python experiments/published_levels/compare.py --metric "$metric" "Mult-VAE=$runs/vae" "Mult-DAE=$runs/dae" "RecVAE=$runs/recvae" \
    "H+Vamp=$runs/h_vamp" "EASE=$runs/vae:ease"
done
