"""What every store and every provider promises, for each implementation."""
