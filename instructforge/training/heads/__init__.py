"""Fine-tuning of encoder models: a head over the task's fields, for choices and for spans.

``trainer.py`` is the way in; it hands a job to ``choice.py`` or ``span.py`` by the target's head.
``modules.py`` holds the models, ``folder.py`` writes and opens what was trained.
"""
