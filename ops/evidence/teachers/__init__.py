"""Teachers of the experiments: the same network from several seeds, each with its importance scores."""
