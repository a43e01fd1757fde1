"""Judges what is wrong now: snapshot, findings, and the watcher that sends alerts."""
