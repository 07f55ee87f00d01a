"""Reports, metrics and the weekly digest."""
