"""How long this machine takes to decode a token with a network of a shape."""
