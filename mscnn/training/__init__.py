"""Training from scratch: timm's optimisers, schedules, EMA and transforms around a short loop.

``recipe`` holds the settings, ``dataset`` finds and reads the photographs, ``loop`` trains,
``checkpoint`` keeps a run resumable, ``evaluate`` measures, ``export`` writes a model folder in
timm's own format.
"""
