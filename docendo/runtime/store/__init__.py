"""The database: SQLModel tables and the one class that reads and writes them."""
