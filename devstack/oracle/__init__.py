"""A second, slow and simple implementation of what PostgreSQL must contain after a topic is applied.

`wire`, `serial` and `policy_history` import nothing from the product. They implement the message format,
the rules and the tables again from their descriptions, so a mistake stays hidden only if it is made
twice. `serial` has the whole meaning of an update in one file, so that you can check it by reading.
"""
