"""Item encoders: attributes (and a free table) to a feature per item [I, d]. One file per variant."""
