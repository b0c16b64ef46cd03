"""The operators: each file holds a function and its rule."""
