"""The HTTP server: routes, authentication, limits, streaming, metrics."""
