"""What evaluate-llm and plan are made of: on which tasks, who is asked how, what they took, who else answers."""
