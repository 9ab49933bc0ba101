"""The page: ``app`` builds it, one module of ``lenses`` per tab; ``answering`` runs them."""
