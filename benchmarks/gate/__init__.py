"""Is this version slower than an earlier one? ``nox -s gate`` says it of each scenario."""
