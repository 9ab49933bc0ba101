"""The multi-scale lens: what each part of a network can see, and which part decided.

``receptive_field`` is pure arithmetic and loads no torch; import the modules themselves.
"""
