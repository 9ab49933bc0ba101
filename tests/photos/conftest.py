import pillow_heif

# For its encoder; what is tested has a decoder only.
pillow_heif.register_heif_opener()
