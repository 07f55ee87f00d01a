"""What a vault holds, and its bytes."""
