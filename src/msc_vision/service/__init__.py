"""The HTTP service and its store: decisions that other services ask for, and what is kept of them."""
