"""What other programs make of our files: vLLM, in an environment of its own (`make serve-env`)."""
