"""Who takes part: roles, acts, views, prompts, and the model port."""

import docendo.agents.dialogue  # noqa: F401  (registers acts)
import docendo.agents.exemplars  # noqa: F401  (registers acts)
import docendo.agents.roles  # noqa: F401  (registers acts)
