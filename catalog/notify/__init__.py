"""Telling people: events of alerts by mail, webhook and other targets, pings, metrics and the weekly digest."""
