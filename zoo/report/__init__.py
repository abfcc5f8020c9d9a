"""Results: on the terminal, as pictures, as tables."""
