"""The Redis data path: URL to configuration, sockets, pipelining, scripts. It knows nothing of sessions."""
