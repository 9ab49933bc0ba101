import pillow_heif

# For its encoder: what is tested calls it without Pillow.
pillow_heif.register_heif_opener()
