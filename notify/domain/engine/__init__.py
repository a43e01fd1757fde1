"""How ordered work is done once: streams, lanes, windows and digests. Nothing here knows a tag or a link."""
