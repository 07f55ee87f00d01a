"""A siege: the real command under faults from a seed, and every point compared with the source of its moment.

`python -m tests.siege --help`; docs/reliability.md says what was tried and found.
"""
