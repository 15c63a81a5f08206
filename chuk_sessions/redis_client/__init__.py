"""The Redis data path: URL to configuration, sockets, pipelining, scripts. It knows nothing of sessions.

A command goes from ``client.py`` (the deployment of one URL) to ``node.py`` (one server of it: which connection, what
to do when it is lost), and from there to ``connection.py``, which writes it to the socket and reads the reply.
``dial.py`` opens such connections. ``cluster.py`` and ``sentinel.py`` say which server is asked.
"""
