"""`manage.py watch`: samples workers and queues, opens alerts for problems, and sends them."""
