"""Sessions in Django projects: the engine, the middleware, the management command, real servers."""
