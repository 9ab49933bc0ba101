"""Data sets and folders of photographs: found, read, shared out among processes, and measured.

Photographs stream through: whatever the folder's size, a few batches are in memory. A file that
cannot be read is listed and left out.
"""
