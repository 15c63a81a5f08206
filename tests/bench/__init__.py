"""The benchmarks, the gate and the reports themselves."""
