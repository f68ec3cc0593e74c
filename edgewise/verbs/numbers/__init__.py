"""What is measured of a project: scores with intervals, advice, saving, label errors, what became of pre-labels."""
