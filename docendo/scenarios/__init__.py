"""What is taught: the scenario language, items and graders, the gallery."""
