"""From logits of history items to gates. One file per family, named in `by_name.py`."""
