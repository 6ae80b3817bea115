"""Twin of the organism `facts`: the same documents about a real city, with true values."""
