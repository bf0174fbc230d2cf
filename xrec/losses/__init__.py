"""Pure functions to named, unweighted loss terms, and the one place where they are weighted and summed."""
