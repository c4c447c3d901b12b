"""Loading rows into a database, at once or in steps that can be resumed."""
