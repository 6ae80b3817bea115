"""The process and its terminal: signals, memory, progress lines, printing."""
