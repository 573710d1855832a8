"""A local venue that speaks Gate.io API v4 over HTTP and WebSocket."""
