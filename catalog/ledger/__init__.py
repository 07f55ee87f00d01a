"""What was taken from an item, and what must stay: forgetting, holding, and what goes by policy."""
