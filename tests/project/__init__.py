"""Tests across packages: imports, requests in all, a whole restore on another server, the demo, the benchmarks."""
