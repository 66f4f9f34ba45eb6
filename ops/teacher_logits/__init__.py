"""Teacher logits, kept: what the teacher gives its most likely tokens, for every position that students will read.

Students distilled from it (`DistillConfig.teacher = "cached"`) run no teacher, and any number of them read the same.
"""
