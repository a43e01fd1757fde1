"""The rules of the pipeline: pure Python, with the standard library and msgspec only.

Everything here is a function of its arguments. Nothing reads a clock, an environment or a network: callers
pass in `now` and random tokens. `engine` is how ordered work is done once, and `records` is what an update
means. They meet in `engine.window.Write`.
"""
