"""Opening drives at log-on: systemd units, tasks of the Task Scheduler."""
