"""User encoders: a history to a latent z [B, M, d]. One file per variant."""
