"""The loss of a candidate, as it is cut or as a short distillation left it, on text that no evaluation reads."""
