"""`rpdrive vault promote`, which also changes the drives that open by themselves."""
