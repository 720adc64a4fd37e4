"""What is remembered: students' memories, student models, the skill graph."""
