"""Tests of `rpdrive repair`."""
