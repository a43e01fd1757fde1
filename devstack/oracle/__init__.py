"""What PostgreSQL must hold after a topic, found out a second time, the slow and simple way.

`wire`, `serial` and `policy_history` import nothing of the product: the message format, the rules and
the tables are read anew from their descriptions, so that a mistake would have to be made twice to
stay unseen. `serial` is the whole meaning of an update in one file, to be checked by eye.
"""
