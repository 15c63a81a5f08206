"""What can be imported from where, and how it is typed."""
