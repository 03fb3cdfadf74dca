"""Applications, one for each framework, written as its documentation writes them."""
