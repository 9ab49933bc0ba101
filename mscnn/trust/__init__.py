"""Whether a class activation map can be believed: scores beside controls, and sanity checks.

No ``Network`` here: functions take arrays, a model, or a function from pictures to logits.
``plan`` says what to do and loads no torch, ``controls`` makes the maps to beat, ``scores`` the
scores, ``checks`` randomises weights, changes photos and places objects, ``verdict`` sums up.
"""
