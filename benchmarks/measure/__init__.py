"""How it is measured: the clock, the cores, the processes, the servers, and the versions that are compared."""
