"""Import: the templates and tasks of other projects, turned into ours.

``promptsource`` reads promptsource's collection, ``lm_eval`` the declarative tasks of lm-evaluation-harness. Both
are read as data; no code of theirs runs. What cannot be carried over is told, with the reason.
"""
