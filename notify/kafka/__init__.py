"""Kafka's clients: producer, topic, connections and their security."""
