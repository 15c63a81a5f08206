"""Stores by themselves: wrappers, capabilities, and the store over a provider of the user's own."""
