"""`make demo`: plays the incident on the whole stack, live in the terminal."""

from devstack.demo.play import main

__all__ = ["main"]
