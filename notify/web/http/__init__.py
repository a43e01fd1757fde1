"""Requests and answers: bodies, the endpoint, errors, CORS, health."""
