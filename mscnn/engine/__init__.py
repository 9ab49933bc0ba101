"""The loaded network, the session that keeps networks, and the use cases of every front end.

No gradio, no drawing, no files.
"""
