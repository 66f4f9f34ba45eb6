"""Teacher correction: the teacher goes on learning, on the data that its students will be distilled on.

For a teacher that was trained on other data than there is now (Minitron in practice, arXiv 2408.11796, section 3.1).
"""
