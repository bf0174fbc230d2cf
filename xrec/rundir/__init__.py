"""What a run leaves on disk: one schema, one writer (`directory.py`), one reader (`saved.py`)."""
