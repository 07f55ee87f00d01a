"""What has the tick run every five minutes: a systemd timer, a line of cron, or a task of the Task Scheduler."""
