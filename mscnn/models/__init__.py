"""Which backbones there are, their labels and weights, and the owner's model folders.

Nothing here runs a photo through a network.
"""
