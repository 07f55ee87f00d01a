"""Opens drives at login or at the start of the machine: systemd units, tasks of the Task Scheduler."""
