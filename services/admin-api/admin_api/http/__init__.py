"""HTTP: fields, preconditions and strict questions, alike for every feature."""
