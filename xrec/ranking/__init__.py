"""Full-catalogue ranking and its metrics: per user first, averages last."""
