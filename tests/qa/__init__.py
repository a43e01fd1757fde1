"""The long suites: faults, fuzzing, official clients, rehearsals, benchmarks and containers."""
