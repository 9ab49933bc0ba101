"""Frozen results on NumPy, and the one description of each: JSON, rows, CSV and manifest.

No torch, no gradio, no drawing.
"""
