"""The package as it is published: the wheel and the sdist."""
