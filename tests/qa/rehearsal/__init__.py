"""The incident, rehearsed: real processes, real traffic, and a support person in a real browser."""
