"""From events to split interactions: sources, cleaning, splits, cache."""
