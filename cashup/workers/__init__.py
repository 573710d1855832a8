"""The processes that execute a deployment's notebook."""
