"""The claims that compression rests on, as experiments with seeds, null distributions and intervals."""
