"""Attention over the history: gates [B, L, T] and values [B, L, T]. One file per variant."""
