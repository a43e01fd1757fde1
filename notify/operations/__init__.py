"""What commands and admin pages both do: streams, replays, keys, status, the trail of an update."""
