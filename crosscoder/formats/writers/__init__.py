"""Writers of crosscoders for other libraries: one layout per file."""
