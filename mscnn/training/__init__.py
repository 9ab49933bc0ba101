"""Training and fine-tuning: timm's optimisers, schedules, EMA and transforms around a short loop.

``start`` is the way in. ``recipe`` holds the settings, ``batches`` reads the photographs that
``mscnn.data`` finds, ``networks`` builds or loads the model, ``steps`` takes one optimiser step,
``loop`` goes through the epochs, ``state`` keeps a run resumable and stops it, and ``results``
writes a model folder in timm's own format.
"""
