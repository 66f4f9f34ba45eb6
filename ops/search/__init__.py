"""Search: which smaller network to cut out of a teacher under a budget.

Candidates are enumerated, those that meet the budget are scored as they are cut, the best are distilled for a short
while until their order no longer changes. Every score, short distillation and measured latency is an artefact of its
own in the store, so that another budget uses it again and a killed search loses little.
"""
