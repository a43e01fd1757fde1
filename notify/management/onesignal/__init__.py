"""What `manage.py import` does: an export of OneSignal, line by line, into updates in Kafka."""
