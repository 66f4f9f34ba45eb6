"""Sort a teacher by importance: the same function, every channel, head and expert in the order in which students keep
them."""
