"""The pipelined client: bytes, connections, deadlines, outages, Sentinel and Cluster."""
