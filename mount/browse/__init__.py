"""The restore browser: a page, served on this machine, that shows recovery points and restores from them."""
