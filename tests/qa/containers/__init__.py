"""The stack of docker/compose.yaml in containers, under load: `make test-all SUITE=containers`."""
