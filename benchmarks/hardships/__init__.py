"""What the service is put through: streams in numbers, a held snapshot, Redis down."""
