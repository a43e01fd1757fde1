"""The API's resources: players, users, subscriptions, aliases, batches, and what they share."""
