"""`make demo`: replays the incident on the whole stack and shows it in the terminal."""

from devstack.demo.play import main

__all__ = ["main"]
