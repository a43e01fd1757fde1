"""Django's backend for PostgreSQL (ENGINE), with our sessions."""
