"""The processes of contenders. Some run in other environments, so they import little."""
