"""The system state of a machine: what a rebuild must know, collected, kept, compared and applied."""
