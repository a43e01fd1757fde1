"""Sessions with PostgreSQL and connections to Redis, each with a deadline of its own."""
