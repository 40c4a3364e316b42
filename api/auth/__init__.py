"""Who calls, and what they may do: keys, principals, the audit log."""
