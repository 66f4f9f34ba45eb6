"""What exists: asset definitions, partitions, checks, schedules, recipes. Thin, and imports no torch."""
