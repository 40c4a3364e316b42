"""What is measured, a module a part of the report."""
