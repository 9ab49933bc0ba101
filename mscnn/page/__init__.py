"""The page: ``app`` builds it, one file per tab; ``handlers`` computes and knows no gradio."""
