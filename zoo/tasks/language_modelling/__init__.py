"""Language modelling by characters: a prompt in, its continuation out."""
