"""Who takes part: roles, acts, views, prompts, and the model port."""
