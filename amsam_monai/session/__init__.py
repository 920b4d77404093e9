"""The interactive session: a person's clicks, boxes and corrections, slice by slice."""
