"""What an SDK's update means: updates, patches, decisions, links, aliases and policy."""
