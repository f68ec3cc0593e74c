"""What `improve` is made of: on which tasks, who is asked how, and what a round leaves behind."""
