"""Tests of what the page knows of health, jobs, alerts, policies and storage."""
