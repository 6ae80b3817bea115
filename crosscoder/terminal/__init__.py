"""Text for a terminal: escaped controls, lines that break between words, commands to copy."""
