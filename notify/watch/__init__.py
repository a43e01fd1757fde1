"""`manage.py watch`: samples of what bridges cannot see, what is wrong now as alerts, and telling them."""
