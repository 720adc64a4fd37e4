"""Who acts next: the graph language, compiled to LangGraph."""
