"""What a process tells of itself: logs, metrics, traces, and the answers to probes."""
