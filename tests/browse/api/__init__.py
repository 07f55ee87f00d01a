"""The interface and its specification."""
