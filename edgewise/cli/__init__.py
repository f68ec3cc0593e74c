"""The system from a terminal: commands, what they print, and how they end.

app.py: the commands together, errors and exit codes. shell.py: output and progress. jobs.py: a verb in the queue,
followed to its end. project.py: the verbs of a Label Studio project. language.py: what a language model is told, costs
and is worth. files.py: train, predict and prelabel. exchange.py: import, export, dataset. serving.py: workers, jobs.
"""
