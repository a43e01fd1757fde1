"""The rules of the pipeline: pure Python, standard library only.

Everything here is a function of its arguments. Nothing reads a clock, an environment or a network;
`now` and random tokens are handed in. Both stages and the web edge import down to this package.
"""
