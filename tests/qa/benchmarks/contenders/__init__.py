"""The contenders that `make bench BENCH=contenders` compares, one module each, and what measures them."""
