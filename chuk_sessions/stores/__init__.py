"""What sessions are kept in: the contract of a store, and the store over a provider of the user's own."""
