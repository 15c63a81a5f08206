"""What several tests share: real servers and faults, implementations, clocks and comparisons. See README.md here."""
