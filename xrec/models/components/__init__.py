"""The wide components of the composed model, one file each."""
