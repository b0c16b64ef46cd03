"""What an operator is: its arguments, its rule, and what is done with it."""
