"""Who may ask the page for what."""
