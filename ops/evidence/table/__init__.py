"""All claims in one table, their p-values adjusted as one family."""
