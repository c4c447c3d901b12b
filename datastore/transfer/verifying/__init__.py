"""The proof that two databases hold the same rows, and that searches find the same."""
