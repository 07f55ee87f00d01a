"""When the jobs of a plan run: the calendar, the runs of this machine, and the tick that starts what is due."""
