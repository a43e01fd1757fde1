"""The official server clients, unchanged but for their host: what they send, and what they accept.

`record` writes what they send into tests/fixtures/onesignal_clients, which needs the clients;
`test_replay` sends that to the views, which does not. `test_compatibility` lets the clients
themselves call the running product, and writes docs/compatibility.md.
"""
