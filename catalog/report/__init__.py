"""Reports: what ran, how it went and what comes next, for people, for Prometheus, and by mail once a week."""
