"""The loss of a candidate as it is cut, before it learns anything."""
