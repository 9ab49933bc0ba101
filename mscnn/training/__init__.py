"""Training and fine-tuning: timm's optimisers, schedules, EMA and transforms around a short loop.

``start`` is the way in. ``recipe`` holds the settings, ``layouts`` (with ``table`` and ``arrow``)
finds the photographs, ``dataset`` and ``batches`` read them, ``networks`` builds or loads the
model, ``steps`` takes one optimiser step, ``loop`` goes through the epochs, ``stopping`` ends them
early, ``checkpoint`` and ``state`` keep a run resumable, ``processes`` shares it, ``evaluate``
measures, and ``results``, ``card`` and ``export`` write a model folder in timm's own format.
"""
