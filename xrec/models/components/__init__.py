"""The wide components of the composed model, one file each. All exactly additive over history items."""
