"""Training and fine-tuning: timm's optimisers, schedules, EMA and transforms around a short loop.

``start`` is the way in.
"""
