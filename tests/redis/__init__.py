"""The Redis provider, seen from the server: records, scripts, rights, costs, and refusals."""
