"""Training: one Lightning module and what it needs around it."""
