"""Players, maskers, and the batched value function of a case."""
