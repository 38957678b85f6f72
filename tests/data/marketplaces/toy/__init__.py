"""A made-up marketplace outside the tree: the proof that one more marketplace is one more folder."""
