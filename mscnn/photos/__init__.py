"""The border for pictures: safe opening, colour, preprocessing, and the way back to the photo.

No torch at import; ``PIL.Image.open`` is called here only.
"""
