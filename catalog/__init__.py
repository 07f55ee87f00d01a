"""The contents of a vault, and the bytes that represent them."""
