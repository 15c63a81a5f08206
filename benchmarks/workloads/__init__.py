"""What is measured: the registry of workloads, and the timed loops that they run."""
