"""Tests of rpdrive, sorted as its packages are; what they share is in kit/."""
