"""Class activation maps: which parts of the view spoke for a class, at which layer.

``recorder`` owns the only hooks of the project. ``single_pass`` computes Grad-CAM for many layers
and classes in one forward; ``packaged`` runs the other methods through the ``grad-cam`` package.
``methods`` names them all without loading torch.
"""
