"""The multi-scale lens: what each part of a network can see, and which part decided.

``receptive_field`` is pure arithmetic and loads no torch; import the modules themselves. Everywhere
in this room, ``model`` is a timm model in eval mode, left as it was; ``x`` is ``(B, 3, H, W)`` on
its device and in its dtype; ``stages`` are the module names of its stages, and ``field`` its
theoretical receptive fields, None where they are not known. Splits are counted from 0, in timm's
order.
"""
