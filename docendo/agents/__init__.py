"""Who takes part: roles, acts, views, prompts, and the model port."""

import docendo.agents.roles  # noqa: F401  (registers the built-in acts)
