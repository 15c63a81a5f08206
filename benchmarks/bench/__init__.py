"""The published tables measured anew, and the speed to reach. ``nox -s bench`` runs it."""
