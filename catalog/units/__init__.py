"""What the system starts for rpdrive: systemd units and tasks of the Windows Task Scheduler, as files and calls."""
