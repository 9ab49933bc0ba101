"""Arrays in, pictures out: overlays, legends, sheets and curves.

Nothing here runs a model or reads a file of the user. NumPy, Pillow and matplotlib's colour maps
and ``Figure`` only: no torch, no pyplot, no state shared between calls, so every function may run
in several threads at once. Pictures are ``(h, w, 3)`` uint8 RGB; what is given is never changed.
"""
