"""Arrays and results in, pictures out: overlays, charts, sheets, and the files made of them.

Nothing here runs a model or reads a file of the user. NumPy, Pillow and matplotlib's ``Figure``
only: no torch, no pyplot, no global setting changed, so every function may run in several threads
at once. Pictures are ``(h, w, 3)`` uint8 RGB; what is given is never changed.
"""
