"""Who may do what: keys, roles of staff and of PostgreSQL, failed logins, required secrets."""
