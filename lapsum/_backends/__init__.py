"""One module of kernels for each array library, and the choice between them."""
