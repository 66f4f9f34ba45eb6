"""Score documents: language, and mathematics quality from 0 to 5.

Input `cleaned` (CLEANED parts) and, for a classifier instead of the rules, `quality_model`; output SCORED parts.
Documents in other languages (`language`) or under the wanted score (`below_min_score`) are dropped and counted. The
whole text is kept whatever was scored of it. The corpora "3+" and "4+" are selections by `math_int_score` afterwards.
"""
