"""SessionManager, its arguments, formats and errors; and the store over a provider of the user's own."""
