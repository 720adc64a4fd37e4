"""docendo: a laboratory for teaching and learning between language-model agents."""

__version__ = "0.1.0"
