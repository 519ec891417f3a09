"""`jupyter rlm` and its subcommands, one module each. None of them is imported before it is asked for."""
