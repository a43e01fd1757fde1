"""Who may call: apps and their keys, identity tokens, rate limits."""
