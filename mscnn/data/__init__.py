"""Work over whole folders of photographs: accuracy, feature files, and neighbours in them.

Photographs stream through: whatever the folder's size, a few batches are in memory. A file that
cannot be read is listed and left out.
"""
