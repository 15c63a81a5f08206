"""Requests through whole applications, in process over ASGI: this library's sessions beside those of others."""
