"""What was measured: on the terminal, as pictures, as tables."""
